"""What the terms of the objective are made of, at some parameters and data; each part computed when first asked for."""

from functools import cached_property

import torch
from torch import Tensor
from torch.func import jvp, vmap

from isoloss.discovery._loss import Losses
from isoloss.discovery.actions import Action

TINY = 1e-12
"""Squared lengths below it count as it, where something is divided by them."""


class Local:
    """An action and its generators at n parameters with their data.

    Args:
        losses: The loss on batches.
        action: The action map.
        h: The generators, (k, m, m).
        theta: Parameters, (n, p).
        x: Data, (n, q).
        generator: Of random numbers.
    """

    def __init__(
        self,
        losses: Losses,
        action: Action,
        h: Tensor,
        theta: Tensor,
        x: Tensor,
        generator: torch.Generator | None = None,
    ):
        self.losses, self.action, self.h, self.theta, self.x = losses, action, h, theta, x
        self.generator = generator

    @cached_property
    def directions(self) -> Tensor:
        """The infinitesimal actions of the generators, (n, k, p)."""
        return self.action.directions(self.h, self.theta, self.x)

    @cached_property
    def squared(self) -> Tensor:
        """Their squared lengths, (n, k)."""
        return self.directions.square().sum(-1)

    @cached_property
    def units(self) -> Tensor:
        """The directions at length one, (n, k, p)."""
        return self.directions / self.squared.clamp_min(TINY).sqrt()[..., None]

    @cached_property
    def slopes(self) -> Tensor:
        """Slopes of the losses along the directions, (n, k, d)."""
        return self.losses.slopes(self.theta, self.x, self.directions)

    @cached_property
    def scale(self) -> Tensor:
        """Mean square of the slopes along a random unit vector, (n,)."""
        return self.losses.scale(self.theta, self.x, self.generator)

    @cached_property
    def sloped(self) -> Tensor:
        """Where the loss has a slope, (n,): elsewhere every direction keeps it, and none says anything.

        What is rounding beside the root mean square slope counts as none. Whether is a matter of quotients: a loss
        times any factor has its slopes at the same samples.
        """
        floor = torch.finfo(self.scale.dtype).eps ** 2 * self.scale.mean()
        return self.scale > floor

    @cached_property
    def steep(self) -> Tensor:
        """The slopes over those along random unit vectors, (n, k, d); 0 where the loss has none."""
        size = torch.where(self.sloped, self.scale, torch.inf).sqrt()
        return self.slopes / size[:, None, None]

    @cached_property
    def invariance(self) -> Tensor:
        """Root mean square slope along directions over that along random ones of the same lengths, (k,).

        0 is invariant, 1 is random; nan where the loss has no slope anywhere.
        """
        lengths = (self.squared * self.sloped[:, None]).sum(0).clamp_min(TINY)
        found = (self.steep.square().mean(-1).sum(0) / lengths).sqrt()
        return found if bool(self.sloped.any()) else torch.full_like(found, torch.nan)

    @cached_property
    def typical(self) -> Tensor:
        """The same at the median sample, (k,), whatever the lengths elsewhere: 0.7 or so for a random direction."""
        if not bool(self.sloped.any()):
            return torch.full_like(self.invariance, torch.nan)
        each = self.steep.square().mean(-1) / self.squared.clamp_min(TINY)
        return each[self.sloped].sqrt().median(0).values

    @cached_property
    def identity_error(self) -> Tensor:
        """How far the identity moves the parameters, (n,)."""
        one = torch.eye(self.action.size, dtype=self.h.dtype, device=self.h.device)
        return torch.linalg.vector_norm(self.action(one, self.theta, self.x) - self.theta, dim=-1)

    @cached_property
    def associativity_error(self) -> Tensor:
        r"""Length of the defect of Theorem 6.3.2 for each generator with any other, (n, k).

        It does not depend on the other: :math:`D_g a` is linear in h, so that what :math:`h_2` adds on one side it
        adds on the other, and :math:`\| D_\theta a|_I\, v_1 - v_1 \|` is left.
        """
        one = torch.eye(self.action.size, dtype=self.h.dtype, device=self.h.device)
        first = self.directions
        along = vmap(lambda v: jvp(lambda t: self.action(one, t, self.x), (self.theta,), (v,))[1], in_dims=1)
        through = along(first).movedim(0, 1)
        return torch.linalg.vector_norm(through - first, dim=-1)
