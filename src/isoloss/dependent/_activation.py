"""Pointwise activations with their first two derivatives, and with inverses where they have, or are given, one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """A function of one number, applied to every entry.

    Attributes:
        value: The function.
        slope: Its derivative.
        curvature: Its second derivative; None if it is zero wherever there is one.
        inverse: The inverse of the function, or of its bijective extension; None if there is none.
    """

    value: Map
    slope: Map
    curvature: Map | None = None
    inverse: Map | None = None


def activation_of(module: nn.Module, reach: float = 30.0) -> Activation | None:
    """The activation that a module computes, None if it is not in `ACTIVATIONS`."""
    make = ACTIVATIONS.get(type(module))
    return None if make is None else make(module, reach)


class Extended(nn.Module):
    r"""A bounded activation extended to a bijection of the real line, :math:`\sigma(x) + e^{x - N} - e^{-x - N}`.

    Where a network lives the extension is the activation, up to :math:`e^{|x| - N}`; further out it is a bijection,
    which action 1 needs. It takes the place of the activation in a model.

    Args:
        activation: nn.Tanh() or nn.Sigmoid().
        reach: N.

    References:
        Dissertation, section 4.4.2, after Eq. (4.12). Differs: printed there is :math:`- e^{-x + N}`, which would be
        far from the activation at 0.
    """

    def __init__(self, activation: nn.Module, reach: float = 10.0):
        super().__init__()
        if type(activation) not in (nn.Tanh, nn.Sigmoid):
            raise ValueError(
                f"Extended: the activation must be bounded and increasing; got {type(activation).__name__}; "
                "give nn.Tanh() or nn.Sigmoid()."
            )
        self.activation, self.reach = activation, reach

    def forward(self, x: Tensor) -> Tensor:
        """The extended activation of every entry."""
        return self.activation(x) + (x - self.reach).exp() - (-x - self.reach).exp()


def extended_inverse(value: Map, slope: Map, reach: float, rounds: int = 100) -> Map:
    r"""The inverse of the bijective extension of a bounded increasing function.

    .. math:: y = \sigma(x) + e^{x - N} - e^{-x - N}

    Solved by Newton's method inside a bracket, which bisection shrinks where Newton leaves it. Where the function is
    within rounding of a bound the answer lies near N, the reach.

    Args:
        value: The function; increasing, and the extension adds less than rounding near zero.
        slope: Its derivative.
        reach: N. e^-N should be below the rounding of the dtype, so that the extension is the function where it can.
        rounds: Iterations at most.

    References:
        Dissertation, section 4.4.2, after Eq. (4.12).
    """

    def inverse(y: Tensor) -> Tensor:
        wide = y.double()
        top = reach + (wide.abs() + 3.0).log()
        low, high = -top, top.clone()
        x = torch.zeros_like(wide)
        for _ in range(rounds):
            up, down = (x - reach).exp(), (-x - reach).exp()
            error = value(x) + up - down - wide
            high = torch.where(error > 0, x, high)
            low = torch.where(error < 0, x, low)
            step = x - error / (slope(x) + up + down)
            new = torch.where((step > low) & (step < high), step, 0.5 * (low + high))
            new = torch.where(error == 0, x, new)
            if bool((new == x).all()):
                break
            x = new
        return x.to(y)

    return inverse


def _identity(module: nn.Module, reach: float) -> Activation:
    return Activation(lambda z: z, torch.ones_like, None, lambda y: y)


def _relu(module: nn.Module, reach: float) -> Activation:
    return Activation(torch.relu, lambda z: (z > 0).to(z.dtype))


def _leaky(module: nn.Module, reach: float) -> Activation:
    low = float(module.negative_slope)  # type: ignore[arg-type]

    def inverse(y: Tensor) -> Tensor:
        return torch.where(y > 0, y, y / low)

    def slope(z: Tensor) -> Tensor:
        if 0.0 <= low <= 1.0:
            return z.sign().clamp_(min=low)  # many times faster than the other
        return torch.where(z > 0, z.new_ones(()), z.new_full((), low))

    return Activation(
        lambda z: nn.functional.leaky_relu(z, low),
        slope,
        None,
        inverse if low > 0 else None,
    )


def _tanh(module: nn.Module, reach: float) -> Activation:
    def slope(z: Tensor) -> Tensor:
        return 1 - z.tanh().square()

    def curvature(z: Tensor) -> Tensor:
        t = z.tanh()
        return -2 * t * (1 - t.square())

    return Activation(torch.tanh, slope, curvature, extended_inverse(torch.tanh, slope, reach))


def _sigmoid(module: nn.Module, reach: float) -> Activation:
    def slope(z: Tensor) -> Tensor:
        s = z.sigmoid()
        return s * (1 - s)

    def curvature(z: Tensor) -> Tensor:
        s = z.sigmoid()
        return s * (1 - s) * (1 - 2 * s)

    return Activation(torch.sigmoid, slope, curvature, extended_inverse(torch.sigmoid, slope, reach))


def _extended(module: nn.Module, reach: float) -> Activation:
    assert isinstance(module, Extended)
    n = module.reach
    inner = ACTIVATIONS[type(module.activation)](module.activation, n)
    inner_curvature = inner.curvature
    assert inner_curvature is not None
    return Activation(
        module.forward,
        lambda z: inner.slope(z) + (z - n).exp() + (-z - n).exp(),
        lambda z: inner_curvature(z) + (z - n).exp() - (-z - n).exp(),
        inner.inverse,
    )


ACTIVATIONS: dict[type[nn.Module], Callable[[nn.Module, float], Activation]] = {
    nn.Identity: _identity,
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky,
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    Extended: _extended,
}
