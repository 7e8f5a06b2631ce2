"""A curve on the level set of the loss, with its derivatives at the point where it starts."""

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor
from torch.func import jvp

Tensors = Mapping[str, Tensor]


class Curve(Protocol):
    r"""The curve :math:`\gamma(t) = \exp(tM) \cdot w` through any parameters w, along one algebra element M.

    It stays on the level set, so that at a minimum of the loss it stays in the minimum.

    References:
        Zhao et al. (2024), Eq. (44).
    """

    def at(self, t: Tensor | float, tensors: Tensors) -> dict[str, Tensor]:
        """The parameters that move, at time t; at 0 what they are now."""
        ...

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        r"""The derivatives :math:`\gamma'(0), \gamma''(0), \ldots` by the names of the parameters that move.

        Args:
            tensors: All parameters by name.
            order: How many.
        """
        ...


def taylor(curve: Callable[[Tensor], Tensors], t: Tensor, order: int) -> list[Tensors]:
    """Derivatives of any curve at t by nested forward differentiation: for curves without a closed form, and for tests.

    Args:
        curve: The parameters at a time, a function that `torch.func.jvp` accepts.
        t: The time, a tensor of no dimension.
        order: How many.
    """
    found, f = [], curve
    for _ in range(order):
        f = _derivative(f)
        found.append(f(t))
    return found


def _derivative(f: Callable[[Tensor], Tensors]) -> Callable[[Tensor], Tensors]:
    return lambda t: jvp(f, (t,), (t.new_ones(()),))[1]
