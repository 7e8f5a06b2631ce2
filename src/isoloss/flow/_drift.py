"""How far one step of gradient descent carries the conserved quantities, and the bound on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from isoloss.flow._quantities import ConservedQuantities
from isoloss.flow._quantity import Quantity


@dataclass(frozen=True)
class Drift:
    r"""The change of one quantity in one step.

    Attributes:
        change: The change itself, exactly: :math:`\eta^2 Q(\varepsilon \nabla L)`, in the quantity's shape.
        size: Its dual norm: the sum of absolute values, of matrices the nuclear norm. At least the absolute trace.
        bound: :math:`\eta^2 c \lVert \nabla L \rVert^2`, with the largest charge c.
    """

    change: Tensor
    size: float
    bound: float

    @property
    def tightness(self) -> float:
        """Size over bound, between 0 and 1."""
        return self.size / self.bound if self.bound else 0.0


def drift_bound(
    quantities: ConservedQuantities, gradients: Mapping[str, Tensor], rate: float
) -> dict[str, Drift]:
    r"""What one step of gradient descent, on any minibatch, does to the conserved quantities.

    .. math:: Q(\theta - \eta\, \varepsilon \nabla L) - Q(\theta) = \eta^2\, Q(\varepsilon \nabla L), \qquad
        \lVert Q_{t+1} - Q_t \rVert_* \le \eta^2\, c\, \lVert \nabla L \rVert_\varepsilon^2

    The first is an equation, since :math:`\langle \nabla L, M \theta \rangle = 0` takes the linear term away; what is
    linear (translations) does not drift at all. The second follows from :math:`\lVert M \rVert \le c`. The square of
    the gradient is that of the parameters in the quantity, in :math:`\langle x, \varepsilon x \rangle`; over all
    parameters it is :math:`\lvert dL/dt \rvert` of the flow. Summed along a run the drift is of first order in the
    rate: at most :math:`\eta\, c\, (L(0) - L(t))`, up to higher orders.

    Args:
        quantities: As found; they know their :math:`\varepsilon`.
        gradients: Gradients of the loss by name.
        rate: The learning rate :math:`\eta`.

    Returns:
        By name the change, its size and the bound.

    Raises:
        ValueError: If a gradient is missing or of another shape, or the rate is no positive number.

    References:
        Dissertation, Proposition A.4.1, for the trace in two linear layers. Differs: every quantity, the dual norm
        in the place of the trace, and the equation.
    """
    if not (isfinite(rate) and rate > 0):
        raise ValueError(f"drift_bound: rate must be a positive number; got {rate!r}.")
    missing = [n for n in quantities.parameters if gradients.get(n) is None]
    if missing:
        raise ValueError(
            f"drift_bound: every parameter must have a gradient; got none for {missing[0]}; "
            "call backward() on a loss that depends on it."
        )
    for name, known in quantities.shapes.items():
        if gradients[name].shape != known:
            raise ValueError(
                f"drift_bound: a gradient must have the shape of its parameter; got {tuple(gradients[name].shape)} for "
                f"{name} of shape {tuple(known)}; pass that of the model in which the symmetries were found."
            )
    return {name: _drift(q, gradients, rate) for name, q in quantities.items()}


def _drift(quantity: Quantity, gradients: Mapping[str, Tensor], rate: float) -> Drift:
    # What the quantity holds is <x / rate_p, M x>, and the step is rate_p times the gradient.
    moved = {n: gradients[n].detach() / quantity.weights.get(n, 1.0) for n in quantity.parameters}
    change = rate**2 * quantity.quadratic(moved)
    steepest = quantity.symmetry.group.steepest(change)
    squares = [quantity.weights.get(n, 1.0) * x.double().square().sum().cpu() for n, x in moved.items()]
    bound = rate**2 * quantity.charge * float(torch.stack(squares).sum())
    return Drift(change, float((steepest * change).sum()), 0.0 if quantity.translations.all() else bound)
