"""An objective, and the loss, at any parameters: what solvers need that move without a symmetry."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport.objectives import Objective

Vector = dict[str, Tensor]


@dataclass(frozen=True)
class Landscape:
    """The objective as a function of the trained parameters, any of which may move.

    A sum of squares of gradients needs no method of its own: its gradient is one Hessian-vector product, of the
    loss's gradient with itself.

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

    def slope(self, w: Vector) -> tuple[Tensor, Vector]:
        """The objective at w, in float64, and its gradient.

        Raises:
            TypeError: If the objective is neither a sum of squares nor to be evaluated.
            ValueError: If there is no loss.
        """
        leaves = {n: t.detach().clone().requires_grad_() for n, t in w.items()}
        with torch.enable_grad():
            value = self._value(leaves)
            found = [None] * len(leaves)
            if value.requires_grad:
                found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        slope = {n: torch.zeros_like(w[n]) if g is None else g for n, g in zip(w, found, strict=True)}
        return value.detach().double(), slope

    def gradient(self, w: Vector) -> tuple[Tensor, Vector]:
        """The loss at w, in float64, and its gradient: a forward and a backward pass."""
        leaves = {n: t.detach().clone().requires_grad_() for n, t in w.items()}
        with torch.enable_grad():
            value = self.point.loss_for(self.who)(self._at(leaves))
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        gradient = {n: torch.zeros_like(w[n]) if g is None else g for n, g in zip(w, found, strict=True)}
        return value.detach().double(), gradient

    def _value(self, leaves: Vector) -> Tensor:
        form = getattr(self.objective, "form", None)
        if form is not None:
            there = self._at(leaves)
            gradients: Mapping[str, Tensor] = {}
            if self.objective.needs_gradients:
                names = list(self.point.gradients)
                loss = self.point.loss_for(self.who)(there)
                found = torch.autograd.grad(
                    loss, [leaves[n] for n in names], create_graph=True, allow_unused=True
                )
                gradients = {n: g for n, g in zip(names, found, strict=True) if g is not None}
            quadratic: Quadratic = form(replace(self.point, tensors=there, gradients=gradients))
            home = next(iter(leaves.values())).device
            return quadratic.value(list(quadratic.tensors), torch.float64, home)
        evaluate = getattr(self.objective, "evaluate", None)
        if evaluate is None:
            raise TypeError(
                f"{self.who}: an objective must have form(point) or evaluate(point, tensors); "
                f"got {type(self.objective).__name__}; give it the second, a differentiable function of tensors."
            )
        return evaluate(self.point, self._at(leaves))

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
