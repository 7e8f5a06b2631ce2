"""Moving many optimizees by learned elements: proposals, what is refused, and what it did."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf

import torch
from torch import Tensor
from torch.func import vmap

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action, bounded, element
from isoloss.learn.directions import DIRECTIONS

Loss = Callable[[Tensors, Tensors], Tensor]
"""Of the weights and the data of one optimizee."""

Losses = Callable[[Tensor, Tensors], Tensor]
"""Of all weights (n, P) and all data to (n,)."""

SHORTER = 1.0, 0.5, 0.25, 0.125
"""What remains of an element that goes too far, tried in this order; after the last it is refused."""


@dataclass(frozen=True, eq=False)
class Jump:
    """Where n optimizees were teleported to.

    Attributes:
        weights: (n, P).
        taken: What remained of the elements, (n,); 0 where they were refused.
        sizes: Largest `group.norm` of an algebra element that acted, (n,).
    """

    weights: Tensor
    taken: Tensor
    sizes: Tensor


@torch.no_grad()
def propose(
    design: Design,
    actions: Sequence[Action],
    loss: Loss,
    layout: Layout,
    weights: Tensor,
    data: Tensors,
    gradient: Tensor,
) -> list[Tensor]:
    """For every action its directions here, (n, directions, *algebra_shape).

    They are 0 where they do not suit, or are no numbers. No derivative goes through them.
    """
    if design.network == "whole":
        return []
    directions = [DIRECTIONS[name]() for name in design.directions]
    at, slopes = layout.unflatten(weights), layout.unflatten(gradient)

    def here(action: Action) -> Callable[[Tensors, Tensors, Tensors], Tensor]:
        def one(w: Tensors, d: Tensors, g: Tensors) -> Tensor:
            shape = (*action.batch, *action.group.algebra_shape)
            nothing = weights.new_zeros(shape)
            found = [
                direction(action, lambda w: loss(w, d), w, d, g).to(weights.dtype)
                if direction.suits(action)
                else nothing
                for direction in directions
            ]
            return torch.stack(found).nan_to_num(0.0, 0.0, 0.0)

        return one

    return [vmap(here(action))(at, data, slopes) for action in actions]


def jump(
    design: Design,
    actions: Sequence[Action],
    losses: Losses,
    layout: Layout,
    weights: Tensor,
    data: Tensors,
    elements: Sequence[Tensor],
) -> Jump:
    """Let algebra elements (n, *algebra_shape), one per action, act on weights (n, P), as far as the design allows."""
    taken = _allowed(design, actions, losses, layout, weights, data, elements)
    chosen = [times(a, taken) for a in elements]
    acted = [
        bounded(action.group, a.detach(), design.radius).nan_to_num()
        for action, a in zip(actions, chosen, strict=True)
    ]
    sizes = [
        action.group.norm(a).reshape(len(a), -1).amax(1) for action, a in zip(actions, acted, strict=True)
    ]
    # Refused elements are 0, and act as the identity but for rounding, where they act at all.
    kept = (taken > 0)[:, None]
    there = moved(design, actions, layout, only_through(kept, weights), data, chosen)
    return Jump(torch.where(kept, there, weights), taken, torch.stack(sizes).amax(0))


@torch.no_grad()
def _allowed(design, actions, losses, layout, weights, data, elements) -> Tensor:
    """The largest part of the elements that keeps the loss and does not lengthen the weights too far, (n,)."""
    if isinf(design.growth) and isinf(design.tolerance):
        return weights.new_ones(len(weights))
    before = losses(weights, data)
    longest = design.growth * weights.norm(dim=1)
    taken = weights.new_zeros(len(weights))
    for part in SHORTER:
        there = moved(design, actions, layout, weights, data, [part * a for a in elements])
        after = losses(there, data)
        kept = (after - before).abs() <= design.tolerance * before.abs() + torch.finfo(before.dtype).tiny
        fits = kept & (there.norm(dim=1) <= longest) & there.isfinite().all(1)
        taken = torch.where((taken == 0) & fits, part, taken)
    return taken


def moved(design, actions, layout, weights, data, elements) -> Tensor:
    current = layout.unflatten(weights)
    for action, a in zip(actions, elements, strict=True):

        def one(a: Tensor, w: Tensors, d: Tensors, action: Action = action) -> Tensors:
            return action.act(element(action, a, design.radius), w, d)

        current = current | vmap(one)(a, current, data)
    return layout.flatten(current)


def only_through(kept: Tensor, x: Tensor) -> Tensor:
    """The same rows; derivatives go through those that are kept. Elsewhere they may be no numbers, not even times 0."""
    return torch.where(kept, x, x.detach())


def times(a: Tensor, factors: Tensor) -> Tensor:
    # Where a factor is 0 the element may be infinite.
    wide = factors.view(-1, *[1] * (a.dim() - 1))
    return torch.where(wide > 0, a * wide, 0.0)
