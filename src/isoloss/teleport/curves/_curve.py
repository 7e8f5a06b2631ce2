"""A curve on the level set of the loss, with its derivatives at the point where it starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
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


@dataclass(frozen=True)
class TaylorCurve:
    """Any curve given as a function of time: its derivatives by nested forward differentiation.

    For actions whose derivatives nobody has in closed form. It costs one run of the function under two or three nested
    `torch.func.jvp`, and must not pass through `torch.linalg.solve`, whose nested forward rule is wrong (torch 2.13).

    Attributes:
        function: Called with the time, a float64 tensor of no dimension, and all parameters by name; returns those
            that move.
    """

    function: Callable[[Tensor, Tensors], Tensors]

    def at(self, t: Tensor | float, tensors: Tensors) -> dict[str, Tensor]:
        """The parameters that move, at time t."""
        return dict(self.function(torch.as_tensor(t, dtype=torch.float64), tensors))

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0."""
        start = torch.zeros((), dtype=torch.float64)
        return [dict(d) for d in taylor(lambda t: self.function(t, tensors), start, order)]


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
