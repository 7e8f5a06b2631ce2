"""The squared gradient norm: the rate at which gradient flow lowers the loss."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from isoloss.teleport._derivatives import complete, gradients, inner
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport.objectives._objective import check_lower


@dataclass(frozen=True)
class GradientNorm:
    r"""Squared norm of the gradient, raised to descend faster or lowered to descend calmly.

    .. math:: -\frac{dL}{dt} = \lVert J^{-T} \nabla L \rVert_\eta^2 = \sum_p \eta_p \lVert J_p^{-T} \nabla_p L \rVert^2

    Each parameter's part is weighted by the learning rate of its group, relative to the largest: with one rate for
    all it is the squared norm itself. Because every gradient on the orbit is the transported one, it costs no pass.
    It has no maximum, so the radius is what bounds a jump.

    Attributes:
        lower: Go where the gradient is small instead.

    References:
        Dissertation, Proposition 4.5.1, Eqs. (4.17) to (4.21), and Algorithm 1.
    """

    lower: bool = False

    name = "gradient norm"
    radius = 0.1
    passes = 0
    needs_gradients = True
    needs_loss = True

    def __post_init__(self) -> None:
        check_lower(self)

    def form(self, point: Point) -> Quadratic:
        """The weighted sum of squares of the gradients here."""
        return Quadratic(point.gradients, -1, relative(point.rates))

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The same sum at other parameters, of the gradients of `point.loss`."""
        names = list(point.gradients or point.rates)
        found = gradients(point.loss_for(self.name), complete(point, tensors), names)
        return inner(found, found, relative(point.rates))


def relative(rates: Mapping[str, float]) -> dict[str, float]:
    """Learning rates relative to the largest; nothing if all are equal."""
    largest = max(rates.values(), default=0.0)
    if largest <= 0.0 or all(rate == largest for rate in rates.values()):
        return {}
    return {name: rate / largest for name, rate in rates.items()}
