"""How far the next step will lower the loss, to second order: an objective that knows the learning rate."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from isoloss.teleport._derivatives import complete, gradients_and_hvp, inner
from isoloss.teleport._point import Point
from isoloss.teleport.objectives._objective import check_flag, check_lower

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class PredictedDecrease:
    r"""The decrease of the loss in one step of gradient descent, predicted by one Hessian-vector product.

    .. math:: L(w) - L(w - \eta \nabla L) \approx \eta \lVert \nabla L \rVert^2
        - \tfrac{\eta^2}{2} \nabla L^T H \nabla L

    The gradient norm has no maximum on an orbit, and pushed far diverges; this has one, where the step is as long as
    the curvature allows. With a learning rate for every group, :math:`\eta` is their diagonal matrix. Differentiated
    along the orbit it costs one third derivative more, about two further passes.

    Attributes:
        lower: Go where the next step does less instead.
        momentum: Take the step that SGD will take with the momentum that it has now,
            :math:`\Delta w = -\eta (\mu m + (1 - \tau) \nabla L)`, Nesterov's where it is set. The buffer m stays
            where it is in this prediction: let `Teleport` keep it, too.

    References:
        The expansion is that of the descent lemma; compare dissertation, section 4.5.3 and Eq. (4.51).
    """

    lower: bool = False
    momentum: bool = False

    name = "predicted decrease"
    radius = 0.1
    passes = 2
    needs_gradients = False
    needs_loss = True

    def __post_init__(self) -> None:
        check_lower(self)
        check_flag(self, "momentum", "True follows SGD's buffer")

    def evaluate(self, point: Point, tensors: Tensors) -> Tensor:
        """The predicted decrease at other parameters."""
        loss, there = point.loss_for(self.name), complete(point, tensors)
        found, hvp = gradients_and_hvp(loss, there, list(point.gradients or point.rates))
        step = {n: point.rates[n] * d for n, d in self._direction(point, found).items()}
        return inner(found, step) - 0.5 * inner(step, hvp(step))

    def _direction(self, point: Point, gradients: Tensors) -> Tensors:
        if not self.momentum:
            return gradients
        return {n: _with_momentum(g, point.state.get(n, {}), point.options[n]) for n, g in gradients.items()}


def _with_momentum(g: Tensor, state: Mapping, options: Mapping) -> Tensor:
    """What torch.optim.SGD subtracts, divided by the learning rate."""
    buffer, mu = state.get("momentum_buffer"), options.get("momentum", 0.0)
    if mu == 0.0:
        return g
    new = g if buffer is None else mu * buffer + (1.0 - options.get("dampening", 0.0)) * g
    return g + mu * new if options.get("nesterov", False) else new
