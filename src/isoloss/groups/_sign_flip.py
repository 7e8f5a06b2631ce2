"""Signs: the symmetry of odd activations."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.groups._discrete import Discrete
from isoloss.groups._group import Charge, is_real, spread


@dataclass(frozen=True)
class SignFlip(Discrete):
    r"""The group :math:`\mathbb{Z}_2^n` of sign changes, one per coordinate; elements are floating-point +-1.

    .. math:: g \cdot x = g^c \odot x

    An odd charge flips, an even one does not. Signs never round.

    References:
        Dissertation, Example 1.2.5, Table 1.1.
    """

    n: int

    @property
    def name(self) -> str:
        return f"Z2^{self.n}"

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n,)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.ones(*batch, self.n, dtype=dtype, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g * h

    def inverse(self, g: Tensor) -> Tensor:
        return g.clone()

    def sample(self, batch=(), *, scale=0.5, generator=None, dtype=None, device=None) -> Tensor:
        """Draw signs by fair coins; ``scale`` is ignored."""
        source = generator.device if generator else torch.device("cpu")
        coins = torch.randint(2, (*batch, self.n), generator=generator, device=source)
        return (2 * coins - 1).to(device or torch.get_default_device(), dtype or torch.get_default_dtype())

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether all entries are 1 or -1, up to ``tolerance`` (0 by default)."""
        return is_real(g, self.element_shape) and bool(((g.abs() - 1).abs() <= (tolerance or 0.0)).all())

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        if charge % 1 != 0:
            raise ValueError(
                f"{self.name}.act: charge must be a whole number, for -1 has no real fractional powers; "
                f"got {charge}. Use an odd number to flip, an even one not to."
            )
        return x * spread(g, x) if charge % 2 == 1 else x.clone()
