"""Learn to teleport on the fly: one element, moved against the slope of the loss that the next step will find."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.func import grad, vmap

from isoloss.groups import Group
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.problems import Problem, element

Point = TypeVar("Point", Tensor, Tensors)
Rate = float | Tensor


@dataclass(frozen=True, eq=False)
class Trajectory(Generic[Point]):
    r"""A batch of runs of Algorithm 2.

    Attributes:
        points: The :math:`x_t`, ``(steps + 1, *batch, ...)``; tensors by name for an optimizee.
        landings: The :math:`y_t`, where the teleports led, ``(steps, *batch, ...)``.
        losses: At the points, ``(steps + 1, *batch)``.
        gradient_norms: At the points, likewise.
        gains: By how much each teleport raised the norm of the gradient, ``(steps, *batch)``.
        changes: What each teleport did to the loss, relative to it: rounding, if the action keeps it.
        coordinates: The :math:`\theta_t`, ``(steps + 1, *batch, *elements, dim)``: in the plane the angle.
    """

    points: Point
    landings: Point
    losses: Tensor
    gradient_norms: Tensor
    gains: Tensor
    changes: Tensor
    coordinates: Tensor


def descend_on_the_fly(
    problem: Problem,
    start: Tensor,
    *,
    lr: Rate,
    group_lr: Rate,
    steps: int,
    coordinates: Tensor | None = None,
) -> Trajectory[Tensor]:
    r"""Descend on a test problem, with one element of its group learned on the way.

    .. math::
        y_t = g_{\theta_t} \cdot x_t, \qquad
        x_{t+1} = y_t - \alpha \nabla f(y_t), \qquad
        \theta_{t+1} = \theta_t - \beta\, \partial f(x_{t+1}) / \partial \theta_t

    with :math:`g_\theta = \exp(\sum_i \theta_i E_i)` in the basis of the Lie algebra, the same element for every step
    but for what it has learned. The derivative goes through the gradient at y, and takes x for constant. Where the
    group is not compact nothing bounds the element: a rate that is too large ends in losses that are not finite.

    Args:
        problem: What to minimize.
        start: Where the runs start, ``(*batch, size)``; its dtype is that of the runs.
        lr: The rate alpha of the point, one for all runs or ``(*batch)``: a sweep is a batch.
        group_lr: The rate beta of the coordinates, likewise. Its unit is one over that of the loss.
        steps: Number of steps.
        coordinates: Where the coordinates start, ``(*batch, dim)``; by default at the identity.

    Raises:
        ValueError: If there are no steps, the group is discrete, or the coordinates do not fit.

    References:
        2025 paper, Section 4.2, Algorithm 2. Differs: any group, where the paper has rotations of the plane.
    """
    theta = _start(problem.group, start.shape[:-1], start, coordinates)
    run = _run(
        lambda x: problem(x["w"]),
        lambda c, x: {"w": problem.act(element(problem.group, c), x["w"])},
        {"w": start},
        theta,
        batch=start.dim() - 1,
        rates=(lr, group_lr),
        steps=steps,
    )
    return Trajectory(**vars(run) | {"points": run.points["w"], "landings": run.landings["w"]})


def train_on_the_fly(
    loss: Callable[[Tensors, Tensors], Tensor],
    action: Action,
    parameters: Tensors,
    data: Tensors,
    *,
    lr: Rate,
    group_lr: Rate,
    steps: int,
    coordinates: Tensor | None = None,
) -> Trajectory[Tensors]:
    """Train n optimizees, each with elements of an action's group learned on the way; see `descend_on_the_fly`.

    Args:
        loss: Of one optimizee and its data, a scalar: `Tasks.loss`.
        action: What teleports one optimizee: one of `Tasks.actions`.
        parameters: Where the optimizees start, ``(n, *shape)`` by name: `Draw.parameters`.
        data: What their losses depend on, ``(n, *shape)`` by name, the same at every step: `Draw.data`.
        lr: The rate alpha of the weights, one for all or ``(n,)``.
        group_lr: The rate beta of the coordinates, likewise.
        steps: Number of steps.
        coordinates: Where the coordinates start, ``(n, *action.batch, dim)``; by default at the identity.

    Raises:
        ValueError: As for `descend_on_the_fly`.

    References:
        2025 paper, Section 4.2, Algorithm 2. Differs: the paper has test functions only.
    """
    first = next(iter(parameters.values()))
    theta = _start(action.group, (len(first), *action.batch), first, coordinates)

    def move(c: Tensor, w: Tensors) -> Tensors:
        def one(c: Tensor, w: Tensors, data: Tensors) -> Tensors:
            return w | action.act(element(action.group, c), w, data)

        return vmap(one)(c, w, data)

    return _run(
        lambda w: vmap(loss)(w, data), move, parameters, theta, batch=1, rates=(lr, group_lr), steps=steps
    )


def _start(group: Group, batch: tuple[int, ...], like: Tensor, coordinates: Tensor | None) -> Tensor:
    """The first coordinates, of the dtype of the runs."""
    shape = (*batch, group.dim)
    if group.dim == 0:
        raise ValueError(
            f"on_the_fly: the group must be continuous; got {group.name}, of dimension 0. Coordinates of the Lie "
            "algebra are what is learned."
        )
    if coordinates is not None and tuple(coordinates.shape) != shape:
        raise ValueError(
            f"on_the_fly: coordinates must have shape {shape}; got {tuple(coordinates.shape)}. "
            "There is one set for every run and element."
        )
    return like.new_zeros(shape) if coordinates is None else coordinates.to(like)


def _run(
    loss: Callable[[Tensors], Tensor],
    move: Callable[[Tensor, Tensors], Tensors],
    start: Tensors,
    theta: Tensor,
    *,
    batch: int,
    rates: tuple[Rate, Rate],
    steps: int,
) -> Trajectory[Tensors]:
    """The algorithm. Runs are independent, so that the slope of the sum of their losses is that of each."""
    if steps < 1:
        raise ValueError(f"on_the_fly: there must be at least 1 step; got {steps}. Steps are gradient steps.")
    slope = grad(lambda x: loss(x).sum())

    def ahead(theta: Tensor, x: Tensors) -> tuple[Tensor, tuple[Tensors, Tensors]]:
        y = move(theta, x)
        p = slope(y)
        after = {name: w - _beside(rates[0], w) * p[name] for name, w in y.items()}
        return loss(after).sum(), (y, after)

    x, points, landings, coordinates = start, [start], [], [theta]
    for _ in range(steps):
        rise, (y, x) = grad(ahead, has_aux=True)(theta, x)
        theta = theta - _beside(rates[1], theta) * rise
        points.append(x)
        landings.append(y)
        coordinates.append(theta)
    losses, norms = _measured(loss, points, batch)
    kept, landed = _measured(loss, landings, batch)
    return Trajectory(
        points=_stack(points),
        landings=_stack(landings),
        losses=losses,
        gradient_norms=norms,
        gains=landed / norms[:-1],
        changes=kept / losses[:-1] - 1,
        coordinates=torch.stack(coordinates),
    )


def _measured(loss: Callable[[Tensors], Tensor], points: list[Tensors], batch: int) -> tuple[Tensor, Tensor]:
    """Losses and norms of the gradients, ``(points, *batch)`` each."""
    slope = grad(lambda x: loss(x).sum())

    def squares(x: Tensors) -> Tensor:
        return torch.stack([_squared(p, batch) for p in slope(x).values()]).sum(0)

    return torch.stack([loss(x) for x in points]), torch.stack([squares(x) for x in points]).sqrt()


def _squared(p: Tensor, batch: int) -> Tensor:
    """Squared length of what lies beyond the batch, numbers included."""
    return p.reshape(*p.shape[:batch], -1).square().sum(-1)


def _stack(points: list[Tensors]) -> Tensors:
    return {name: torch.stack([point[name] for point in points]) for name in points[0]}


def _beside(rate: Rate, x: Tensor) -> Tensor:
    """A rate for all runs, or one per run, beside what the runs hold."""
    rate = torch.as_tensor(rate, dtype=x.dtype, device=x.device)
    return rate.reshape(rate.shape + (1,) * (x.dim() - rate.dim())) if rate.dim() else rate
