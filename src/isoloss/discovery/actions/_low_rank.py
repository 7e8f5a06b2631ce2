"""Linear maps that differ from the identity by few directions."""

from typing import Any

from isoloss._checks import is_whole
from isoloss.discovery.actions._generators import LowRankGenerators
from isoloss.discovery.actions._linear import Linear


class LowRank(Linear):
    """The linear action, with generators of low rank: 2 p r numbers each in the place of p^2.

    Args:
        params: p.
        data: q.
        rank: r.

    Raises:
        ValueError: If the rank is not a whole number from 1 to p.
    """

    def __init__(self, params: int, data: int, rank: int = 2):
        super().__init__(params, data)
        if not is_whole(rank, least=1) or rank > params:
            raise ValueError(
                f"LowRank: rank must be a whole number from 1 to the number of parameters, {params}; got {rank!r}."
            )
        self.rank = int(rank)

    def generators(self, count: int) -> LowRankGenerators:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Products of two thin matrices."""
        return LowRankGenerators(count, self.size, self.rank)

    @property
    def options(self) -> dict[str, Any]:
        """See `Action`."""
        return {"rank": self.rank}
