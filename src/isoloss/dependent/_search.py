"""Ascent of the gradient norm over data-dependent elements: one Hessian-vector product and closed forms per step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.dependent._chain import Chain
from isoloss.dependent._pair import Pair
from isoloss.dependent._site import Site, Trace
from isoloss.dependent.actions import Difference

Hessian = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Slopes:
    """The objective and the loss at some elements, with their derivatives over these.

    Attributes:
        value: Half of the squared gradient norm.
        loss: The loss.
        slopes: Derivatives of the value, one tensor per pair.
        tilts: Derivatives of the loss; None if no element changes it.
    """

    value: float
    loss: float
    slopes: list[Tensor]
    tilts: list[Tensor] | None


class Search:
    r"""Steepest ascent of :math:`|\nabla L|^2 / 2` over :math:`g_m = 1 + \Theta_m Q_m^T`, one :math:`\Theta_m` per pair.

    The columns of :math:`Q_m` span the pre-activations of the batch: what g does to other directions the batch does
    not see. The derivative in the weights is H times the gradient, one Hessian-vector product; it is contracted in
    closed form with the velocity of the action, at the cost of one Cholesky factorization per fitted layer.

    Where a layer has more samples than weights to fit them, the loss moves to first order. Its derivative over the
    elements, which the same contraction gives, is then projected out of every step, and a Newton step along it takes
    the loss back to what it was.

    Args:
        chain: The model on a batch.
        found: The pairs that may move.
        lower: Descend instead.

    References:
        docs/dependent.md, "The search". Differs from Algorithm 1 of the dissertation in all but the idea.
    """

    def __init__(self, chain: Chain, found: Sequence[Pair], lower: bool = False):
        self._chain, self._sign = chain, -1.0 if lower else 1.0
        makes = {p.producer.module: i for i, p in enumerate(found)}
        reads = {p.reader.module for p in found}
        self._sites: list[Site] = []
        still = True
        for stage in chain.stages:
            module = stage.layer.module
            site = Site.of(stage, makes.get(module), module in reads, still)
            self._sites.append(site)
            still = site.kept and site.makes is None
        self.exact = all(site.kept for site in self._sites)
        self._lowest = next(i for i, s in enumerate(self._sites) if s.makes is not None)
        self._head: tuple[Tensor, Tensor, Hessian] | None = None
        self._gram: Tensor | None = None

    @torch.no_grad()
    def ascend(self, radius: float, steps: int) -> list[Tensor]:
        """Thetas after a number of steps of equal length.

        Args:
            radius: Bound on the Frobenius norm, hence on the spectral norm, of g - 1, for every pair.
            steps: Number of steps; the best point on the way is returned.

        Returns:
            One tensor per pair; zeros if nothing better was found.
        """
        start = [torch.zeros_like(s.q) for s in self._sites if s.makes is not None]
        thetas, best, highest = start, start, -torch.inf
        here = None
        for _ in range(steps):
            here = self.slopes(thetas)
            if self._sign * here.value > highest:
                best, highest = thetas, self._sign * here.value
            slopes = here.slopes if here.tilts is None else _without(here.slopes, here.tilts)
            length = max(float(torch.linalg.vector_norm(s)) for s in slopes)
            if not 0.0 < length < torch.inf:
                return best
            rate = self._sign * radius / (steps * length)
            thetas = [t + rate * s for t, s in zip(thetas, slopes, strict=True)]
            if here.tilts is not None:
                thetas = self._restored(thetas, here.loss, here.tilts)
            thetas = [_within(t, radius) for t in thetas]
        if here is not None and here.tilts is not None:
            thetas = self._levelled(thetas, here.tilts)
        return thetas if self._sign * self.value(thetas)[0] > highest else best

    def elements(self, thetas: Sequence[Tensor]) -> list[Tensor]:
        """g of every pair."""
        makers = [s for s in self._sites if s.makes is not None]
        return [
            torch.eye(len(t)).to(t) + t @ s.q.mT
            for t, s in zip(thetas, sorted(makers, key=lambda s: s.makes), strict=True)
        ]

    @torch.no_grad()
    def value(self, thetas: Sequence[Tensor]) -> tuple[float, float]:
        """Half of the squared gradient norm, and the loss."""
        traces, loss, _ = self._there(thetas)
        squares = [
            (self._times_gradient(i, t)[0] * t.delta).sum()
            for i, t in enumerate(traces)
            if self._sites[i].counts
        ]
        value, loss = torch.stack([0.5 * torch.stack(squares).sum(), loss.to(squares[0])]).tolist()
        return value, loss

    @torch.no_grad()
    def slopes(self, thetas: Sequence[Tensor]) -> Slopes:
        """The objective, the loss and their derivatives."""
        traces, loss, hessian = self._there(thetas)
        value, pushed, curved = self._along_gradient(traces, hessian)
        slopes = self._contracted(traces, thetas, curved, pushed)
        tilts = None
        if not self.exact:
            tilts = self._contracted(traces, thetas, [t.delta for t in traces], [None] * len(traces))
        value, loss = torch.stack([value, loss.to(value)]).tolist()
        return Slopes(value, loss, slopes, tilts)

    @torch.no_grad()
    def matrices(self, thetas: Sequence[Tensor]) -> dict[int, Tensor]:
        """The moved weights of every layer that moves, by position in the chain, fitted by rank in float64."""
        moved, x, rule = {}, self._sites[0].stage.columns, Difference()
        for i, site in enumerate(self._sites):
            stage, w = site.stage, site.matrix
            if site.reads:
                w = rule.outgoing(x, w, stage.columns, x)
            if site.makes is not None:
                theta = thetas[site.makes]
                w = w + theta @ (site.q.mT @ w)
            if site.reads or site.makes is not None:
                moved[i] = w
            if stage.link is not None:
                x = stage.link.value(w @ x)
        return moved

    def _there(self, thetas: Sequence[Tensor]) -> tuple[list[Trace], Tensor, Hessian]:
        """Forward and backward through the moved network."""
        traces: list[Trace] = []
        x = self._sites[0].stage.columns
        for i, site in enumerate(self._sites):
            if i:
                link = self._sites[i - 1].stage.link
                assert link is not None
                x = link.value(traces[-1].z)
            traces.append(site.fitted(x, self._theta(site, thetas), bottom=i == 0))
        if self._head is None or not self.exact:
            self._head = self._chain.head.at(traces[-1].z)
        loss, delta, hessian = self._head
        for i in range(len(traces) - 1, -1, -1):
            traces[i].delta = delta
            if i:
                link = self._sites[i - 1].stage.link
                assert link is not None
                delta = link.pull(traces[i].w[:, : self._sites[i].inputs].mT @ delta)
        return traces, loss, hessian

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

    def _along_gradient(
        self, traces: list[Trace], hessian: Hessian
    ) -> tuple[Tensor, list[Tensor | None], list[Tensor]]:
        """Half of the squared gradient norm; tangents of all inputs and of all deltas along the gradient.

        Together they are the Hessian-vector product: H g is, for every layer, curved x^T + delta pushed^T.
        """
        last = len(traces) - 1
        value, tangent = traces[0].x.new_zeros(()), None
        pushed: list[Tensor | None] = [None]
        tangents: list[Tensor] = []
        gradients: list[Tensor | None] = []
        for i, (site, trace) in enumerate(zip(self._sites, traces, strict=True)):
            step, gradient = self._times_gradient(i, trace)
            gradients.append(gradient)
            if site.counts:
                value = value + 0.5 * torch.dot(step.flatten(), trace.delta.flatten())
            else:
                step = torch.zeros_like(step)
            if tangent is not None:
                step = torch.addmm(step, trace.w[:, : site.inputs], tangent)
            tangents.append(step)
            if i < last:
                tangent = site.stage.link.push(step)  # type: ignore[union-attr]
                pushed.append(tangent)
        curved = [hessian(tangents[-1])]
        for i in range(last, 0, -1):
            site, trace, link = self._sites[i], traces[i], self._sites[i - 1].stage.link
            assert link is not None
            back = trace.w[:, : site.inputs].mT @ curved[-1]
            if site.counts:
                x, gradient = trace.x[: site.inputs], gradients[i]
                if gradient is None:
                    back = torch.addmm(back, x, trace.delta.mT @ trace.delta)
                else:
                    back = torch.addmm(back, gradient[:, : site.inputs].mT, trace.delta)
            back, bent = link.pull_more(back), link.bend(tangents[i - 1])
            curved.append(back if bent is None else back + bent)
        return value, pushed, curved[::-1]

    def _contracted(
        self,
        traces: list[Trace],
        thetas: Sequence[Tensor],
        curved: Sequence[Tensor],
        pushed: Sequence[Tensor | None],
    ) -> list[Tensor]:
        """Derivatives over the elements of a function whose derivative by each weight is curved x^T + delta pushed^T."""
        found: list[Tensor] = [t for t in thetas]
        above: Tensor | None = None  # derivative by z through the fit of the layer above
        for i in range(len(traces) - 1, self._lowest - 1, -1):
            site, trace, theta = self._sites[i], traces[i], self._theta(self._sites[i], thetas)
            rows, tangent = curved[i] if above is None else curved[i] + above, pushed[i]
            if site.makes is not None:
                slope = rows @ (site.t if site.kept else trace.read @ trace.x).mT
                if tangent is not None:
                    slope = torch.addmm(
                        slope, trace.delta, (trace.read[:, : site.inputs] @ tangent).mT
                    )
                found[site.makes] = slope
            if i == self._lowest:
                break
            if site.reads and site.few:
                below = _through_few(site, trace, theta, curved[i], tangent)
            elif site.reads:
                below = _through_many(site, trace, theta, rows, above, tangent)
            else:
                below = None if above is None else trace.w[:, : site.inputs].mT @ above
            link = self._sites[i - 1].stage.link
            assert link is not None
            above = None if below is None else link.pull_more(below)
        return found

    def _theta(self, site: Site, thetas: Sequence[Tensor]) -> Tensor | None:
        return None if site.makes is None else thetas[site.makes]

    def _restored(self, thetas: list[Tensor], loss: float, tilts: list[Tensor]) -> list[Tensor]:
        """A Newton step to the loss that there was."""
        steep = float(_inner(tilts, tilts))
        if not steep > 0.0:
            return thetas
        rate = (self._chain.loss - loss) / steep
        return [t + rate * s for t, s in zip(thetas, tilts, strict=True)]

    def _levelled(self, thetas: list[Tensor], tilts: list[Tensor], rounds: int = 4) -> list[Tensor]:
        tolerance = 2 * torch.finfo(thetas[0].dtype).eps * abs(self._chain.loss)
        for _ in range(rounds):
            loss = self.value(thetas)[1]
            if abs(loss - self._chain.loss) <= tolerance:
                break
            thetas = self._restored(thetas, loss, tilts)
        return thetas


def _through_few(
    site: Site, trace: Trace, theta: Tensor | None, curved: Tensor, tangent: Tensor | None
) -> Tensor:
    """Derivative by the inputs of a layer through its fit, which is exact: what is above has cancelled."""
    x = trace.x[: site.inputs]
    rows = site.back(theta, curved)
    if tangent is None:
        return trace.u[:, : site.inputs].mT @ -rows
    delta = site.back(theta, trace.delta)
    cross = torch.cholesky_solve(x.mT @ tangent, trace.factor)
    below = trace.u[:, : site.inputs].mT @ -torch.addmm(rows, delta, cross.mT)
    return torch.addmm(below, tangent - x @ cross, delta.mT @ trace.fit.mT)


def _through_many(
    site: Site, trace: Trace, theta: Tensor | None, rows: Tensor, above: Tensor | None, tangent: Tensor | None
) -> Tensor:
    """The same for a least-squares fit, with the derivative of its residual."""
    product = site.back(theta, rows) @ trace.x.mT
    if tangent is not None:
        product[:, : site.inputs].addmm_(site.back(theta, trace.delta), tangent.mT)
    solved = torch.cholesky_solve(product.mT, trace.factor)
    seen = solved.mT @ trace.x
    if above is not None:
        seen = seen - site.back(theta, above)
    residual = site.stage.rows - trace.ux
    return torch.addmm(trace.u[:, : site.inputs].mT @ -seen, solved[: site.inputs], residual)


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.dot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True)]).sum()


def _without(slopes: list[Tensor], tilts: list[Tensor]) -> list[Tensor]:
    """The slopes minus their part along the tilts."""
    steep = _inner(tilts, tilts)
    part = _inner(slopes, tilts) / steep.clamp_min(torch.finfo(steep.dtype).tiny)
    return [s - part * t for s, t in zip(slopes, tilts, strict=True)]


def _within(theta: Tensor, radius: float) -> Tensor:
    return theta * (radius / torch.linalg.vector_norm(theta).clamp_min(radius))
