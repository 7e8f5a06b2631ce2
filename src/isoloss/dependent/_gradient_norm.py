"""Half of the squared gradient norm of the moved network, and its derivative by one Hessian-vector product."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.dependent._recursion import Along, Recursion, There
from isoloss.dependent._site import Trace


class GradientNorm:
    """Half of the sum of the squared gradient norms of the layers, each times what it counts.

    The derivative by the weights is H times the gradient, one Hessian-vector product, which `Recursion.slopes`
    contracts with the velocity of the action.

    Args:
        recursion: The network.
    """

    whole: ClassVar[bool] = False

    def __init__(self, recursion: Recursion):
        self._recursion, self._sites = recursion, recursion.sites
        self._gram: Tensor | None = None

    def value(self, there: There) -> tuple[float, float]:
        """The value, and the loss."""
        return self._numbers(there, [self._times_gradient(i, t)[0] for i, t in enumerate(there.traces)])

    def slopes(self, there: There, thetas: Sequence[Tensor]) -> tuple[list[Tensor], Along]:
        """Derivatives over the elements, and the gradient as a direction, for `value_along`."""
        along = self._along(there.traces)
        top = there.hessian(along.tangents[-1]) if self._needs_top() else there.traces[-1].delta
        return self._recursion.slopes(there, thetas, top, along=along), along

    def value_along(self, there: There, along: Along) -> tuple[float, float]:
        """The value and the loss, from what `slopes` has left behind."""
        return self._numbers(there, along.seen)

    def _needs_top(self) -> bool:
        """Does anything depend on the outputs of the last layer, other than through fits that are exact?"""
        needed = True
        for site in self._sites[self._recursion.lowest + 1 :]:
            cut = site.reads and site.few and not site.damping
            needed = site.makes is not None or (needed and not cut)
        return needed

    def _times_gradient(self, i: int, trace: Trace) -> tuple[Tensor, Tensor | None]:
        """The product of the gradient of a layer and its inputs, and the gradient if it was formed."""
        site = self._sites[i]
        if not site.by_gram:
            gradient = trace.delta @ trace.x.mT
            return gradient @ trace.x, gradient
        gram = trace.gram
        if gram is None and i == 0:
            self._gram = gram = trace.x.mT @ trace.x if self._gram is None else self._gram
        return trace.delta @ (trace.x.mT @ trace.x if gram is None else gram), None

    def _along(self, traces: list[Trace]) -> Along:
        """Forward through the network along its gradient: the first half of a Hessian-vector product."""
        along, tangent = Along([], [None], [], []), None
        for i, (site, trace) in enumerate(zip(self._sites, traces, strict=True)):
            step, gradient = self._times_gradient(i, trace)
            along.seen.append(step)
            along.gradients.append(gradient)
            if site.counts != 1.0:
                step = site.counts * step
            if tangent is not None:
                step = torch.addmm(step, trace.core, tangent)
            along.tangents.append(step)
            if site.stage.link is not None:
                tangent = site.stage.link.push(step)
                along.pushed.append(tangent)
        return along

    def _numbers(self, there: There, seen: list[Tensor]) -> tuple[float, float]:
        """The value and the loss, in one transfer."""
        squares = [_dot(s, t.delta) for s, t in zip(seen, there.traces, strict=True)]
        *parts, loss = torch.stack([*squares, there.loss.to(squares[0])]).tolist()
        return 0.5 * sum(s.counts * p for p, s in zip(parts, self._sites, strict=True)), loss


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))
