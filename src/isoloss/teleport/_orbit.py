"""An objective as a function of group elements: its value and its slopes anywhere on the orbit."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._noise import Noise, rounding
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic, widen
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective

Elements = list[Tensor | None]


class Orbit(Protocol):
    """The objective on the orbit of a point.

    Attributes:
        members: Numbers of the symmetries along which it is known; the others are not to be moved along.
        free: Is it known from tensors that are carried along, without a pass through the network?
        transported: Is it the squared norm of the gradients that elements transport?
        noise: Changes that rounding may cause.
    """

    members: list[int]
    free: bool
    transported: bool
    noise: Noise

    def value(self, elements: Elements) -> Tensor:
        """The objective where the elements lead, in float64, a tensor of no dimension."""
        ...

    def slopes(self, elements: Elements) -> tuple[Tensor, list[Tensor]]:
        """The same, and for each of the members the gradient along its algebra, at the identity from there on."""
        ...


def orbit(objective: Objective, symmetries: Sequence[Symmetry], scalings: Scalings, point: Point) -> Orbit:
    """The cheapest way to know the objective: transported gradients where they suffice, else evaluations."""
    form_at = getattr(objective, "form", None)
    if form_at is not None:
        form: Quadratic = form_at(point)
        linear = [i for i, s in enumerate(symmetries) if s.linear or form.power == 1]
        if len(linear) == len(symmetries) or point.loss is None:
            return Transported(form, symmetries, scalings, point, linear)
    return Evaluated(objective, symmetries, scalings, point)


class _Ordered:
    """Elements act in the order of a teleport: the scalings first."""

    def __init__(
        self,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        noise: Noise,
    ):
        self.symmetries = symmetries
        first = list(scalings.members)
        self._order = first + [i for i in range(len(symmetries)) if i not in first]
        self._list = Symmetries([symmetries[i] for i in self._order])
        self.noise = noise

    def ordered(self, elements: Elements) -> Elements:
        return [elements[i] for i in self._order]


class Transported(_Ordered):
    r"""A sum of squares, carried along: no pass through the network.

    .. math:: f(g) = \sum_p \lambda_p \lVert g \cdot x_p \rVert^2
    """

    free = True

    def __init__(
        self,
        form: Quadratic,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        members: list[int],
    ):
        super().__init__(symmetries, scalings, Noise(rounding(point)))
        self.members, self._form = members, form
        self.transported = form.power == -1 and not form.weights
        moving = {n for i in members for n in symmetries[i].parameters}
        self._moving = {n: widen(x.detach()) for n, x in form.tensors.items() if n in moving}
        self._here = dict(point.tensors) | (dict(form.tensors) if form.power == 1 else {})
        home = next((x.device for x in form.tensors.values()), torch.device("cpu"))
        self._rest = form.value([n for n in form.tensors if n not in moving], torch.float64, home)

    @torch.no_grad()
    def value(self, elements: Elements) -> Tensor:
        """See `Orbit`."""
        return self._sum(self._moved(elements))

    @torch.no_grad()
    def slopes(self, elements: Elements) -> tuple[Tensor, list[Tensor]]:
        """See `Orbit`; a gradient moves by the contragredient, whose velocity is minus the adjoint's."""
        x = self._moved(elements)
        twice = {n: 2 * self._form.weight(n) * t for n, t in x.items()}
        if self._form.power == 1:
            there = self._here | x
            return self._sum(x), [self.symmetries[i].moment(twice, there) for i in self.members]
        zeros = {
            n: torch.zeros_like(self._here[n]) for i in self.members for n in self.symmetries[i].parameters
        }
        there = zeros | twice
        return self._sum(x), [-self.symmetries[i].moment(x, there) for i in self.members]

    def _moved(self, elements: Elements) -> dict[str, Tensor]:
        chosen = self.ordered(elements)
        if self._form.power == 1:
            moved = self._list.act(chosen, self._here | self._moving)
            return self._moving | {n: moved[n] for n in self._moving if n in moved}
        return self._moving | self._list.transport(chosen, self._moving, {})

    def _sum(self, x: dict[str, Tensor]) -> Tensor:
        total = Quadratic(x, self._form.power, self._form.weights)
        return self._rest + total.value(list(x), torch.float64, self._rest.device)


class Evaluated(_Ordered):
    """Any differentiable function of the parameters: one evaluation per value, and one more backward per slope."""

    free = transported = False

    def __init__(
        self, objective: Objective, symmetries: Sequence[Symmetry], scalings: Scalings, point: Point
    ):
        super().__init__(symmetries, scalings, Noise.of(point, objective))
        self.members = list(range(len(symmetries)))
        self._objective, self._point = objective, point

    @torch.no_grad()
    def value(self, elements: Elements) -> Tensor:
        """See `Orbit`."""
        there = self._moved(elements)
        with torch.enable_grad():  # an objective may differentiate the loss
            return self._objective.evaluate(self._point, there).detach().double()

    @torch.no_grad()
    def slopes(self, elements: Elements) -> tuple[Tensor, list[Tensor]]:
        """See `Orbit`: one gradient with respect to the parameters, contracted with the generators."""
        there = self._moved(elements)
        names = [n for i in self.members for n in self.symmetries[i].parameters]
        value, found = differentiated(self._objective, self._point, there, list(dict.fromkeys(names)))
        return value, [self.symmetries[i].moment(found, there) for i in self.members]

    def _moved(self, elements: Elements) -> dict[str, Tensor]:
        here = {n: t.detach() for n, t in self._point.tensors.items()}
        return here | self._list.act(self.ordered(elements), here)


def differentiated(
    objective: Objective, point: Point, tensors: dict[str, Tensor], names: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """An evaluated objective at some tensors, in float64, and its gradients with respect to those named."""
    leaves = {n: tensors[n].detach().clone().requires_grad_() for n in names}
    with torch.enable_grad():
        value = objective.evaluate(point, tensors | leaves)
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if leaves and value.requires_grad:
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return value.detach().double(), {n: g for n, g in zip(leaves, found, strict=True) if g is not None}
