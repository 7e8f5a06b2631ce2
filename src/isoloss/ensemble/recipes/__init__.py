"""How a member's two layers move: the group action and the four baselines of section 2.9, one file each."""

from isoloss.ensemble.recipes._acted import Acted
from isoloss.ensemble.recipes._inverse import Inverse
from isoloss.ensemble.recipes._permutation import InterpolatedPermutation
from isoloss.ensemble.recipes._random import Random
from isoloss.ensemble.recipes._recipe import Recipe
from isoloss.ensemble.recipes._shuffle import Shuffle

RECIPES: dict[str, type[Recipe]] = {
    "group": Acted,
    "inverse": Inverse,
    "random": Random,
    "shuffle": Shuffle,
    "perm_interp": InterpolatedPermutation,
}

__all__ = [
    "RECIPES",
    "Acted",
    "Inverse",
    "InterpolatedPermutation",
    "Random",
    "Recipe",
    "Shuffle",
]
