"""Permutations: the symmetry of every layer whose units are alike."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.groups._discrete import Discrete
from isoloss.groups._group import Charge, spread


@dataclass(frozen=True)
class Permutation(Discrete):
    r"""The symmetric group :math:`S_n`; elements are int64, ``g[i]`` says where entry i comes from.

    .. math:: (g \cdot x)_i = x_{g_i}, \qquad (g h)_i = h_{g_i}

    Permutation matrices are orthogonal, hence every charge acts alike; nothing rounds.

    References:
        Dissertation, Examples 1.2.9 and 1.2.10, Table 1.1.
    """

    n: int

    @property
    def name(self) -> str:
        return f"S_{self.n}"

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n,)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        """Return 0, 1, ..., n - 1; indices are int64, whatever ``dtype`` says."""
        return torch.arange(self.n, device=device).repeat(*batch, 1)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return torch.take_along_dim(h, g, -1)

    def inverse(self, g: Tensor) -> Tensor:
        return g.argsort(-1)

    def sample(self, batch=(), *, scale=0.5, generator=None, dtype=None, device=None) -> Tensor:
        """Draw permutations uniformly, by sorting random numbers; ``scale`` and ``dtype`` are ignored."""
        source = generator.device if generator else torch.device("cpu")
        keys = torch.rand(*batch, self.n, generator=generator, dtype=torch.float64, device=source)
        return keys.argsort(-1).to(device or torch.get_default_device())

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether g holds each of 0, ..., n - 1 once, as int64; ``tolerance`` is ignored."""
        fits = g.dtype == torch.int64 and g.dim() >= 1 and g.shape[-1] == self.n
        return bool(fits and (g.sort(-1).values == self.identity(device=g.device)).all())

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        if g.dtype != torch.int64:
            raise ValueError(
                f"{self.name}.act: permutations hold indices, int64; got {g.dtype}. Convert them: g.long()."
            )
        return torch.take_along_dim(x, spread(g, x), -1)
