"""Is one contender better than another, seed by seed, or could it be luck?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.9
"""Of the interval of a ratio; each side of it is left with probability 0.05."""


@dataclass(frozen=True)
class Comparison:
    """The ratio of two contenders' losses over paired seeds.

    Attributes:
        ratio: Geometric mean of ours / theirs.
        low: Lower end of its 90 % interval, Student's t on the logarithms.
        high: Upper end.
        wins: Seeds in which ours is lower.
        of: Seeds.
        diverged: Seeds in which ours diverged.
    """

    ratio: float
    low: float
    high: float
    wins: int
    of: int
    diverged: int = 0

    @property
    def lower(self) -> bool | None:
        """Is ours lower? None if the interval contains 1."""
        return True if self.high < 1.0 else False if self.low > 1.0 else None

    @property
    def higher(self) -> bool | None:
        """Is ours higher?"""
        return None if self.lower is None else not self.lower

    def __str__(self) -> str:
        if math.isinf(self.ratio):
            return f"diverged in {self.diverged} of {self.of} seeds; lower in {self.wins} of {self.of} seeds"
        if self.ratio == 0.0:
            return f"the other diverged; lower in {self.wins} of {self.of} seeds"
        interval = f"90 % interval {self.low:.3g} to {self.high:.3g}; " if math.isfinite(self.high) else ""
        return f"{self.ratio:.3g} times; {interval}lower in {self.wins} of {self.of} seeds"


def compare(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Comparison:
    """Compare final losses, paired by seed.

    Args:
        ours: One per seed; None for a run that diverged.
        theirs: The same for whom they are compared with.

    Raises:
        ValueError: If the numbers of seeds differ, or there are none.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"compare: needs pairs; got {len(ours)} against {len(theirs)} values.")
    a, b = ([math.inf if v is None else v for v in values] for values in (ours, theirs))
    wins, n = sum(x < y for x, y in zip(a, b, strict=True)), len(a)
    if any(map(math.isinf, a)):
        diverged = sum(map(math.isinf, a))
        return Comparison(math.inf, math.inf if n > 1 else 0.0, math.inf, wins, n, diverged)
    if any(map(math.isinf, b)):
        return Comparison(0.0, 0.0, 0.0 if n > 1 else math.inf, wins, n)
    logs = [_log(x) - _log(y) for x, y in zip(a, b, strict=True)]
    mean = math.fsum(logs) / n
    if n == 1:
        return Comparison(math.exp(mean), 0.0, math.inf, wins, n)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (n - 1) / n)
    reach = _student(n - 1) * spread
    return Comparison(_exp(mean), _exp(mean - reach), _exp(mean + reach), wins, n)


def _log(x: float) -> float:
    return math.log(max(x, 1e-300))


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))
