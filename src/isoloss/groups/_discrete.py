"""What all discrete groups share: a Lie algebra that is the point 0."""

# ruff: noqa: D102 (Group documents the methods)
from abc import abstractmethod

import torch
from torch import Tensor

from isoloss.groups._group import Charge, Group, excerpt


class Discrete(Group):
    """A group of dimension 0: algebra elements hold no numbers, exp and log know only the identity."""

    @property
    def dim(self) -> int:
        return 0

    @property
    def algebra_shape(self) -> tuple[int, ...]:
        return (0,)

    def exp(self, a: Tensor) -> Tensor:
        return self.identity(tuple(a.shape[:-1]), dtype=a.dtype, device=a.device)

    def log(self, g: Tensor) -> Tensor:
        self._check_contains("log", g)
        batch = tuple(g.shape[:-1])
        moved = (g != self.identity(batch, dtype=g.dtype, device=g.device)).any(-1)
        if moved.any():
            raise ValueError(
                f"{self.name}.log: g must be the identity, which alone has a logarithm in a discrete group; "
                f"got {excerpt(g[moved][0])}. Keep discrete elements as they are."
            )
        dtype = g.dtype if g.is_floating_point() else torch.get_default_dtype()
        return torch.zeros(*batch, 0, dtype=dtype, device=g.device)

    def basis(self, *, dtype=None, device=None) -> Tensor:
        return torch.zeros(0, 0, dtype=dtype, device=device)

    @abstractmethod
    def sample(self, batch=(), *, scale=0.5, generator=None, dtype=None, device=None) -> Tensor:
        """Draw elements uniformly; ``scale`` is ignored, for there is no algebra to measure it in."""

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        return torch.zeros_like(x)
