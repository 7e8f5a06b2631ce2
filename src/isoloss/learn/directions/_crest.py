"""The rotation to the largest gradient, as if its square were a wave along the orbit."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import grad

from isoloss.groups import Orthogonal
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.learn.directions._gradient_norm import squared
from isoloss.learn.directions._slope import normalized, slope


class Crest:
    r"""The rotation to the largest gradient along the direction in which it grows.

    With u the direction of `GradientNorm` and :math:`p(t) = |\nabla L(\exp(t u) \cdot w)|^2`,

    .. math:: a = t u, \qquad t = \tfrac{1}{2} \operatorname{atan2}\bigl(2 p'(0), -p''(0)\bigr) \in [0, \pi / 2].

    A wave :math:`p(t) = C + A \cos 2 (t - t_0)` has its crest there: so it is for rotations of any quadratic form in
    the plane, where the crest is the short axis. Elsewhere it is a guess. Costs two derivatives more than
    `GradientNorm`.

    References:
        2025 paper, Section 4 and Appendix B, for rotations to the short axis. The closed form is ours.
    """

    name: ClassVar[str] = "crest"

    def suits(self, action: Action) -> bool:
        """For rotations: other orbits are not periodic."""
        return isinstance(action.group, Orthogonal)

    def __call__(
        self,
        action: Action,
        loss: Callable[[Tensors], Tensor],
        parameters: Tensors,
        data: Tensors,
        gradient: Tensors,
    ) -> Tensor:
        """See `Direction`."""

        def height(w: Tensors) -> Tensor:
            return squared(grad(loss)(w))

        u = normalized(action.group, slope(action, height, parameters, data))

        def along(t: Tensor) -> Tensor:
            return height(parameters | action.act(action.group.exp(t * u), parameters, data))

        origin = u.new_zeros(())
        rise, bend = grad(along)(origin), grad(grad(along))(origin)
        angle = torch.atan2(2 * rise, -bend) / 2
        return torch.where(angle.isfinite(), angle, 0.0) * u
