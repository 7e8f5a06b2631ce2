"""The moved network: forward from elements to traces, and back from derivatives by weights to those by elements."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.dependent._chain import Chain
from isoloss.dependent._layer import Layer
from isoloss.dependent._pair import Pair
from isoloss.dependent._site import Site, Trace
from isoloss.dependent._through import plus, slope, through_few, through_few_from, through_many

Hessian = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class There:
    """The network at some elements, forward and back.

    Attributes:
        traces: What each layer sees and is, with the gradient of the loss by its outputs.
        loss: The loss.
        hessian: That of the loss by the outputs of the last layer, as a map from rows to rows.
    """

    traces: list[Trace]
    loss: Tensor
    hessian: Hessian


@dataclass(frozen=True)
class Along:
    """What moves along a direction of the weights that is itself their gradient, layer by layer.

    Attributes:
        seen: Products of the gradients and the inputs.
        pushed: Tangents of the inputs; None for the first layer.
        tangents: Tangents of the outputs.
        gradients: The gradients themselves, where they were formed.
    """

    seen: list[Tensor]
    pushed: list[Tensor | None]
    tangents: list[Tensor]
    gradients: list[Tensor | None]


class Recursion:
    r"""The network that :math:`g_m = 1 + \Theta_m Q_m^T` moves, one :math:`\Theta_m` per pair, and its adjoint.

    The columns of :math:`Q_m` span the pre-activations of the batch: what g does to other directions the batch does
    not see. `at` gives the moved weights, and `slopes` turns derivatives by them into those by the elements.

    Args:
        chain: The model on a batch.
        found: The pairs that may move.
        weights: Factors of the squared norms of the gradients, by the names of the weights; where there is none the
            layer does not count. None counts every trained layer once. A bias counts like its weight.

    Attributes:
        sites: The layers before the search.
        lowest: The first layer that moves.

    References:
        docs/dependent.md, "The search".
    """

    def __init__(self, chain: Chain, found: Sequence[Pair], weights: Mapping[str, float] | None = None):
        self._chain = chain
        makes = {p.producer.module: i for i, p in enumerate(found)}
        reads = {p.reader.module for p in found}
        self.sites: list[Site] = []
        still = True
        for stage in chain.stages:
            module = stage.layer.module
            counts = _weight(stage.layer, weights)
            site = Site.of(stage, makes.get(module), module in reads, still, counts)
            self.sites.append(site)
            still = site.kept and site.makes is None
        self.lowest = next(i for i, s in enumerate(self.sites) if s.makes is not None)
        self._head: tuple[Tensor, Tensor, Hessian] | None = None

    @property
    def exact(self) -> bool:
        """Is every fit exact in theory, so that no element changes the loss?"""
        return all(site.kept for site in self.sites)

    def damp(self, dampings: Mapping[int, float]) -> None:
        """Damp the fits of some layers from now on, by their positions."""
        still = True
        for i, site in enumerate(self.sites):
            self.sites[i] = site.damped(dampings.get(i, site.damping), still)
            still = self.sites[i].kept and site.makes is None

    @property
    def bases(self) -> list[Tensor | None]:
        """q of every pair; None for the identity."""
        return [s.q for s in self._makers()]

    def start(self) -> list[Tensor]:
        """The thetas of the identity."""
        return [s.stage.rows.new_zeros(len(s.stage.rows), len(s.t)) for s in self._makers()]

    def changes(self, thetas: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """For every pair g - 1, as the product of theta and q^T, or of theta and the identity."""
        return [(t, None if q is None else q.mT) for t, q in zip(thetas, self.bases, strict=True)]

    @torch.no_grad()
    def at(self, thetas: Sequence[Tensor], exactly: bool = False, whole: bool = False) -> There:
        """Forward and backward through the moved network.

        Args:
            thetas: The elements.
            exactly: Fit by rank in float64, without a Hessian: what is written in the end.
            whole: Move the first matrix, too, which no other layer depends on.
        """
        traces = self.forward(thetas, exactly, whole)
        loss, delta, hessian = self._head_at(traces[-1].z, exactly)
        for i in range(len(traces) - 1, -1, -1):
            traces[i].delta = delta
            if i:
                delta = self.sites[i - 1].above.pull(traces[i].core.mT @ delta)
        return There(traces, loss, hessian)

    def forward(self, thetas: Sequence[Tensor], exactly: bool = False, whole: bool = False) -> list[Trace]:
        """The moved layers, without gradients; see `at`."""
        traces: list[Trace] = []
        x = self.sites[0].stage.columns
        for i, site in enumerate(self.sites):
            if i:
                x = self.sites[i - 1].above.value(traces[-1].z)
            theta = self.theta(site, thetas)
            traces.append(
                site.moved(x, theta) if exactly else site.fitted(x, theta, bottom=i == 0 and not whole)
            )
        return traces

    @torch.no_grad()
    def slopes(
        self,
        there: There,
        thetas: Sequence[Tensor],
        rows: Tensor | None = None,
        covectors: Sequence[Tensor | None] | None = None,
        along: Along | None = None,
    ) -> list[Tensor]:
        """Derivatives over the elements of a function of the moved network, backward.

        Args:
            there: The network at the elements.
            thetas: The elements.
            rows: Derivative by the outputs of the last layer; None for zero. The gradient of the loss there gives the
                derivative of the loss.
            covectors: Derivatives by the moved matrices, with the bias as the last column, one per layer; None for
                zero. See `at`, whole, for the first of these matrices.
            along: Where the function is half of the squared gradient norm: the gradient as a direction. Rows is then
                the Hessian of the loss times its last tangent.

        Returns:
            One tensor per pair. Rows stand for all that depends on the outputs of a layer: the layers above, and the
            matrices that are fitted to them. Through a fit that is exact nothing from above comes down.
        """
        traces, found = there.traces, list(thetas)
        rows = torch.zeros_like(traces[-1].z) if rows is None else rows
        for i in range(len(traces) - 1, self.lowest - 1, -1):
            site, trace, theta = self.sites[i], traces[i], self.theta(self.sites[i], thetas)
            tangent = None if along is None else along.pushed[i]
            covector = None if covectors is None else covectors[i]
            product = None
            if site.reads and not site.few:
                product = rows @ trace.x.mT
                if tangent is not None:
                    product[:, : site.inputs].addmm_(trace.delta, tangent.mT)
                if covector is not None:
                    product += covector
            if site.makes is not None and product is not None:
                found[site.makes] = product @ trace.read.mT
            elif site.makes is not None:
                found[site.makes] = slope(site, trace, rows, tangent)
                if covector is not None:
                    found[site.makes] += covector @ site.seen(trace.u).mT
            if i == self.lowest:
                break
            below = None if along is None or not site.counts else self._from_gradient(i, trace, along)
            if site.reads and site.few:
                below = through_few(site, trace, theta, rows, tangent, below)
                if covector is not None:
                    below = through_few_from(site, trace, site.back(theta, covector), below)
            else:
                below = plus(below, trace.core.mT, rows)
                if product is not None:
                    below = through_many(site, trace, site.back(theta, product), below)
            link = self.sites[i - 1].above
            rows = link.pull_more(below)
            bent = None if along is None else link.bend(along.tangents[i - 1])
            rows = rows if bent is None else rows + bent
        return found

    def _head_at(self, rows: Tensor, exactly: bool) -> tuple[Tensor, Tensor, Hessian]:
        """The loss and its derivatives; where no outputs change, once and for all."""
        if not self.exact:
            return self._chain.head.at(rows, twice=not exactly)
        if self._head is None:
            self._head = self._chain.head.at(rows)
        return self._head

    def _from_gradient(self, i: int, trace: Trace, along: Along) -> Tensor:
        """The part of a derivative by inputs that comes from the gradient of this layer."""
        n, gradient, counts = self.sites[i].inputs, along.gradients[i], self.sites[i].counts
        delta = trace.delta if counts == 1.0 else counts * trace.delta
        if gradient is None:
            return trace.x[:n] @ (trace.delta.mT @ delta)
        return gradient[:, :n].mT @ delta

    def _makers(self) -> list[Site]:
        return sorted((s for s in self.sites if s.makes is not None), key=lambda s: s.makes or 0)

    def theta(self, site: Site, thetas: Sequence[Tensor]) -> Tensor | None:
        """The element of the pair that a layer makes, if it makes one."""
        return None if site.makes is None else thetas[site.makes]


def _weight(layer: Layer, weights: Mapping[str, float] | None) -> float:
    if weights is None:
        return float(layer.weight.requires_grad)
    return weights.get(f"{layer.name}.weight" if layer.name else "weight", 0.0)
