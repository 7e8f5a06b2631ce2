"""An objective, and the loss, at any parameters: what solvers need that move without a symmetry."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.teleport._orbit import differentiated
from isoloss.teleport._point import Point
from isoloss.teleport.objectives import Objective

Vector = dict[str, Tensor]


@dataclass(frozen=True)
class Landscape:
    """The objective as a function of the trained parameters, any of which may move.

    Args:
        objective: Any.
        point: Where the training is.
        who: Named in the error if there is no loss.
    """

    objective: Objective
    point: Point
    who: str

    @property
    def here(self) -> Vector:
        """The parameters that the optimizer trains."""
        return {n: t.detach() for n, t in self.point.parameters.items() if t.is_floating_point()}

    def value(self, w: Vector) -> Tensor:
        """The objective at w, in float64.

        Raises:
            ValueError: If the objective needs the loss and there is none.
        """
        with torch.enable_grad():  # an objective may differentiate the loss
            return self.objective.evaluate(self.point, self._at(w)).detach().double()

    def slope(self, w: Vector) -> tuple[Tensor, Vector]:
        """The objective at w, in float64, and its gradient.

        For the gradient norm, a Hessian-vector product.

        Raises:
            ValueError: If the objective needs the loss and there is none.
        """
        value, found = differentiated(self.objective, self.point, self._at(w), list(w))
        return value, {n: found.get(n, torch.zeros_like(t)) for n, t in w.items()}

    def gradient(self, w: Vector) -> tuple[Tensor, Vector]:
        """The loss at w, in float64, and its gradient: a forward and a backward pass."""
        leaves = {n: t.detach().clone().requires_grad_() for n, t in w.items()}
        with torch.enable_grad():
            value = self.point.loss_for(self.who)(self._at(leaves))
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        gradient = {n: torch.zeros_like(w[n]) if g is None else g for n, g in zip(w, found, strict=True)}
        return value.detach().double(), gradient

    def _at(self, w: Mapping[str, Tensor]) -> Vector:
        return {n: t.detach() for n, t in self.point.tensors.items()} | dict(w)


def dot(x: Vector, y: Vector) -> float:
    """Inner product, in float64."""
    return sum(float((x[n].double() * y[n].double()).sum()) for n in x)


def norm(x: Vector) -> float:
    """Euclidean norm."""
    return dot(x, x) ** 0.5


def plus(x: Vector, t: float, y: Vector) -> Vector:
    """The sum x + t y."""
    return {n: x[n] + t * y[n] for n in x}
