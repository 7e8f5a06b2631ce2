"""Rules that propose where on the orbit to go, one per file; `DIRECTIONS` lists them by name."""

from isoloss.learn.directions._balance import Balance
from isoloss.learn.directions._crest import Crest
from isoloss.learn.directions._direction import Direction
from isoloss.learn.directions._gradient_norm import GradientNorm
from isoloss.learn.directions._lookahead import Lookahead
from isoloss.learn.directions._scale import Scale
from isoloss.learn.directions._whiten import Whiten

DIRECTIONS: dict[str, type[Direction]] = {
    "scale": Scale,
    "whiten": Whiten,
    "balance": Balance,
    "gradient-norm": GradientNorm,
    "lookahead": Lookahead,
    "crest": Crest,
}

__all__ = [
    "DIRECTIONS",
    "Balance",
    "Crest",
    "Direction",
    "GradientNorm",
    "Lookahead",
    "Scale",
    "Whiten",
]
