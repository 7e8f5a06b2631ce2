"""What the tests of solvers share: objectives without a form, and points with a loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import mse_loss

from isoloss.teleport import Loss, Point
from isoloss.teleport._scalings import Scalings


@dataclass(frozen=True)
class Any:
    """Any function f(point, tensors)."""

    f: Callable
    lower: bool = False

    name = "any"
    radius = 0.1
    passes = 1
    needs_gradients = False

    def evaluate(self, point, tensors):
        return self.f(point, tensors)


def squared_norm(point, tensors):
    """The squared gradient norm by a backward pass, differentiable."""
    inputs = {n: tensors[n] for n in point.rates}
    found = torch.func.grad(lambda p: point.loss({**tensors, **p}))(inputs)
    return sum(g.square().sum() for g in found.values())


def the_loss(point, tensors):
    return point.loss(tensors)


def fourth_powers(point, tensors):
    """No symmetry but permutations and signs keeps it."""
    return sum((0.1 * t).pow(4).sum() for n, t in tensors.items() if n in point.rates)


def point_of(model: nn.Module, x, y, criterion=mse_loss):
    """The model's parameters with the gradients of the loss, and the loss as a function of them."""
    names = {n: p.detach() for n, p in model.named_parameters()}

    loss = Loss(lambda: criterion(model(x), y), model)
    found = torch.func.grad(loss)(names)
    return Point(names, dict(found), dict.fromkeys(names, 0.1), loss)


def solve(solver, objective, symmetries, point, radius=0.1, seed=0):
    shapes = {n: tuple(t.shape) for n, t in point.tensors.items()}
    scalings = Scalings(symmetries, shapes, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return solver.solve(objective, symmetries, scalings, point, radius, generator)


def arrived(symmetries, point, elements):
    """The tensors where the elements lead, one after another."""
    here = dict(point.tensors)
    for symmetry, g in zip(symmetries, elements, strict=True):
        if g is not None:
            here |= symmetry.act(g, here)
    return here
