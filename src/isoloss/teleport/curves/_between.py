"""What lies between two layers, as a map that a curve passes through: derivatives in, derivatives out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jvp

from isoloss.dependent import Extended
from isoloss.teleport.curves._curve import taylor
from isoloss.teleport.curves._elementwise import composed, elementwise_derivatives
from isoloss.teleport.curves._leibniz import Series

Function = Callable[[Tensor], Tensor]

ELEMENTWISE = (
    Extended,
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
)

# Linear in their inputs, channel by channel.
LINEAR = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.Unflatten,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
)

# Linear near almost every point.
SELECTING = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.MaxPool1d, nn.MaxPool2d)


def through(function: Function, z: Series) -> Series:
    r"""The derivatives of :math:`f(z(t))` by time, its value first, from those of z.

    In closed form for elementwise functions and for what is linear, at least piecewise; by nested forward
    differentiation for other modules.

    Args:
        function: A module of `ELEMENTWISE`, `LINEAR` or `SELECTING`, an nn.Sequential of modules, or any other module.
            What is no module is taken to be elementwise.
        z: The value and at most three derivatives.
    """
    if isinstance(function, nn.Sequential):
        for inner in function:
            z = through(inner, z)
        return z
    if isinstance(function, LINEAR):
        return [function(x) for x in z]
    if isinstance(function, SELECTING):
        return [function(z[0]), *(jvp(function, (z[0],), (x,))[1] for x in z[1:])]
    if isinstance(function, nn.Module) and not isinstance(function, ELEMENTWISE):
        return expanded(function, z)
    return elementwise(function, z)


def elementwise(function: Function, z: Series) -> Series:
    """The same for a function of every entry by itself, whatever its type."""

    def f(x: Tensor) -> Tensor:
        return function(x.clone())  # it may write over its inputs

    order = len(z) - 1
    return [f(z[0]), *(composed(elementwise_derivatives(f, z[0], order), z[1:]) if order else [])]


def expanded(function: Function, z: Series) -> Series:
    r"""The same for any function that torch differentiates forward: along :math:`\sum_n t^n z^{(n)} / n!`."""

    def at(t: Tensor) -> dict[str, Tensor]:
        path = z[-1]
        for n in range(len(z) - 2, -1, -1):
            path = z[n] + t / (n + 1) * path
        return {"": function(path.clone())}

    start = torch.zeros((), dtype=z[0].dtype, device=z[0].device)
    return [function(z[0].clone()), *(x[""] for x in taylor(at, start, len(z) - 1))]


def leading(function: Function | None) -> Function | None:
    """The elementwise function that comes first, if all that follows is linear; None if it is not so."""
    if not isinstance(function, nn.Sequential):
        return function
    if len(function) == 0:
        return nn.Identity()
    first, *rest = function
    if not isinstance(first, ELEMENTWISE):
        first, rest = nn.Identity(), [first, *rest]
    return first if all(isinstance(m, LINEAR) for m in rest) else None
