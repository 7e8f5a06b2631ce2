"""Ascent of the gradient norm over data-dependent elements: one Hessian-vector product and closed forms per step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import torch
from torch import Tensor

from isoloss.dependent._chain import Chain
from isoloss.dependent._layer import Layer
from isoloss.dependent._pair import Pair
from isoloss.dependent._site import Site, Trace

# Relative change of the loss that may remain where it is brought back by Newton steps.
LEVEL = 1e-9

# How often a search that has led too far is drawn back by half, before it stays where it was.
HALVINGS = 6

# By how much of the radius Newton steps of the loss may lead beyond it.
SLACK = 1e-2

Hessian = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Slopes:
    """The objective and the loss at some elements, with their derivatives over these.

    Attributes:
        value: Half of the squared gradient norm; not a number if it was not asked for.
        loss: The loss.
        slopes: Derivatives of the value, one tensor per pair.
        tilts: Derivatives of the loss; None if no element changes it, or if they were not asked for.
        reach: Largest change of a matrix, as a fraction of what is allowed.
    """

    value: float
    loss: float | Tensor
    slopes: list[Tensor]
    tilts: list[Tensor] | None
    reach: float


@dataclass(frozen=True)
class Along:
    """What moves along the gradient, layer by layer.

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


@dataclass(frozen=True)
class Arrival:
    """Where a search has led.

    Attributes:
        thetas: The elements.
        matrices: The moved weights of every layer that moves, by position in the chain.
        before: Half of the squared gradient norm at the identity.
        value: The same there, with these weights.
        loss: The loss there.
        reach: Largest change of a matrix, as a fraction of what is allowed.
    """

    thetas: list[Tensor]
    matrices: dict[int, Tensor]
    before: float
    value: float
    loss: float
    reach: float


class Search:
    r"""Steepest ascent of the gradient norm over :math:`g_m = 1 + \Theta_m Q_m^T`, one :math:`\Theta_m` per pair.

    The columns of :math:`Q_m` span the pre-activations of the batch: what g does to other directions the batch does
    not see. The derivative in the weights is H times the gradient, one Hessian-vector product; it is contracted in
    closed form with the velocity of the action, at the cost of one Cholesky factorization per fitted layer.

    Where a layer has more samples than weights to fit them, the loss moves to first order. Its derivative over the
    elements, which the same contraction gives, is then projected out of every step, and a Newton step along it takes
    the loss back to what it was.

    No matrix moves by more than :math:`\|W' - W\|_F \le (e^{nr} - 1) \|W\|_F`, where n is the number of pairs that it
    belongs to and r the radius: what n elements can do to it by multiplication from the left and from the right.
    Without it the fits, which are ill-conditioned where there are about as many samples as weights, do not have it.

    Args:
        chain: The model on a batch.
        found: The pairs that may move.
        lower: Descend instead.
        weights: Factors of the squared norms of the gradients, by the names of the weights; where there is none the
            layer does not count. None counts every trained layer once. A bias counts like its weight.

    References:
        docs/dependent.md, "The search". Differs from Algorithm 1 of the dissertation in all but the idea.
    """

    def __init__(
        self,
        chain: Chain,
        found: Sequence[Pair],
        lower: bool = False,
        weights: Mapping[str, float] | None = None,
    ):
        self._chain, self._sign = chain, -1.0 if lower else 1.0
        makes = {p.producer.module: i for i, p in enumerate(found)}
        reads = {p.reader.module for p in found}
        self._sites: list[Site] = []
        still = True
        for stage in chain.stages:
            module = stage.layer.module
            counts = _weight(stage.layer, weights)
            site = Site.of(stage, makes.get(module), module in reads, still, counts)
            self._sites.append(site)
            still = site.kept and site.makes is None
        self.exact = all(site.kept for site in self._sites)
        self._lowest = next(i for i, s in enumerate(self._sites) if s.makes is not None)
        self._needs_top = self._sites[self._lowest].makes is not None
        for site in self._sites[self._lowest + 1 :]:
            cut = site.reads and site.few
            self._needs_top = site.makes is not None or (self._needs_top and not cut)
        self._head: tuple[Tensor, Tensor, Hessian] | None = None
        self._gram: Tensor | None = None
        self._allowed = [inf] * len(self._sites)

    @torch.no_grad()
    def ascend(self, radius: float, steps: int) -> "Arrival":
        """Steps of equal length.

        Args:
            radius: Bound on the Frobenius norm, hence on the spectral norm, of g - 1, for every pair.
            steps: Number of steps.

        Returns:
            Where they have led, drawn back by halves until that is allowed and better; else the identity. Without
            matrices and a value if something here is not finite.
        """
        home = {i: s.matrix for i, s in enumerate(self._sites) if s.moves}
        if not all(bool(t.isfinite().all()) for s in self._sites for t in (s.stage.rows, s.matrix)):
            return Arrival(self.start(), {}, nan, nan, self._chain.loss, 0.0)
        self._allowed = [(1.0 - radius) ** -s.sides - 1.0 if radius < 1.0 else inf for s in self._sites]
        thetas = reached = self.start()
        first = here = self.slopes(thetas)
        level = None if first.tilts is None else Level.of(first.tilts)
        length = self._sign * radius / steps
        for n in range(steps):
            found = self.slopes(thetas, slopes_only=True) if n else first
            if n == 0 or found.reach <= max(1.0, 2.0 * first.reach):  # what rounding alone does to a fit
                reached, here = thetas, found
            else:
                length *= 0.5
            missing = 0.0 if level is None else float(first.loss) - float(here.loss)
            stepped = _stepped(reached, here.slopes, length, level, missing)
            if stepped is None:
                break
            thetas = stepped
        thetas = [_within(t, radius) for t in thetas]
        if level is not None:  # nearly, at less cost than where it counts
            loss = self._chain.head.loss(self._forward(thetas)[-1].z)
            thetas = level.shifted(thetas, float(first.loss) - float(loss))
        for _ in range(HALVINGS):
            there = self._levelled(thetas, level)
            if self._allows(there, radius) and self._sign * there.value > self._sign * first.value:
                return replace(there, before=first.value)
            thetas = [0.5 * t for t in thetas]
        return Arrival(self.start(), home, first.value, first.value, self._chain.loss, 0.0)

    def start(self) -> list[Tensor]:
        """The thetas of the identity."""
        return [s.stage.rows.new_zeros(len(s.stage.rows), len(s.t)) for s in self._makers()]

    def changes(self, thetas: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """For every pair g - 1, as the product of theta and q^T, or of theta and the identity."""
        bases = [s.q for s in self._makers()]
        return [(t, None if q is None else q.mT) for t, q in zip(thetas, bases, strict=True)]

    @torch.no_grad()
    def value(self, thetas: Sequence[Tensor]) -> tuple[float, float]:
        """Half of the squared gradient norm, and the loss."""
        traces, loss, _ = self._there(thetas)
        squares = [_dot(self._times_gradient(i, t)[0], t.delta) for i, t in enumerate(traces)]
        return self._numbers(squares, loss)

    @torch.no_grad()
    def slopes(self, thetas: Sequence[Tensor], slopes_only: bool = False) -> Slopes:
        """The objective, the loss and their derivatives.

        Args:
            thetas: The elements.
            slopes_only: Leave out the value and the derivative of the loss.
        """
        traces, loss, hessian = self._there(thetas)
        along = self._along_gradient(traces)
        top = hessian(along.tangents[-1]) if self._needs_top else traces[-1].delta
        slopes = self._contracted(traces, thetas, top, along)
        if slopes_only:
            return Slopes(nan, loss, slopes, None, self._reach(traces))
        tilts = None
        if not self.exact:
            tilts = self._contracted(traces, thetas, traces[-1].delta, None)
        squares = [_dot(s, t.delta) for s, t in zip(along.seen, traces, strict=True)]
        return Slopes(*self._numbers(squares, loss), slopes, tilts, self._reach(traces))

    @torch.no_grad()
    def arrive(self, thetas: list[Tensor]) -> "Arrival":
        """Fit the moved network anew, by rank in float64."""
        traces = self._forward(thetas, exactly=True)
        loss, delta, _ = self._head_at(traces[-1].z, twice=False)
        self._backward(traces, delta)
        squares = [_dot(self._times_gradient(i, t)[0], t.delta) for i, t in enumerate(traces)]
        value, loss = self._numbers(squares, loss)
        moves = {i: t.w for i, t in enumerate(traces) if self._sites[i].moves}
        return Arrival(thetas, moves, value, value, loss, self._reach(traces))

    def _there(self, thetas: Sequence[Tensor]) -> tuple[list[Trace], Tensor, Hessian]:
        """Forward and backward through the moved network."""
        traces = self._forward(thetas)
        loss, delta, hessian = self._head_at(traces[-1].z)
        self._backward(traces, delta)
        return traces, loss, hessian

    def _forward(self, thetas: Sequence[Tensor], exactly: bool = False) -> list[Trace]:
        traces: list[Trace] = []
        x = self._sites[0].stage.columns
        for i, site in enumerate(self._sites):
            if i:
                link = self._sites[i - 1].stage.link
                assert link is not None
                x = link.value(traces[-1].z)
            theta = self._theta(site, thetas)
            traces.append(site.moved(x, theta) if exactly else site.fitted(x, theta, bottom=i == 0))
        return traces

    def _backward(self, traces: list[Trace], delta: Tensor) -> None:
        for i in range(len(traces) - 1, -1, -1):
            traces[i].delta = delta
            if i:
                link = self._sites[i - 1].stage.link
                assert link is not None
                delta = link.pull(traces[i].core.mT @ delta)

    def _head_at(self, rows: Tensor, twice: bool = True) -> tuple[Tensor, Tensor, Hessian]:
        """The loss and its derivatives; where no outputs change, once and for all."""
        if not self.exact:
            return self._chain.head.at(rows, twice)
        if self._head is None:
            self._head = self._chain.head.at(rows)
        return self._head

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

    def _along_gradient(self, traces: list[Trace]) -> "Along":
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

    def _contracted(
        self, traces: list[Trace], thetas: Sequence[Tensor], rows: Tensor, along: "Along | None"
    ) -> list[Tensor]:
        """Backward: derivatives over the elements of the objective, or of the loss if along is None.

        Rows are the derivative by the outputs of a layer, with all that depends on them: the layers above, and the
        matrices that are fitted to them. Through a fit that is exact nothing from above comes down.
        """
        found: list[Tensor] = list(thetas)
        for i in range(len(traces) - 1, self._lowest - 1, -1):
            site, trace, theta = self._sites[i], traces[i], self._theta(self._sites[i], thetas)
            tangent = None if along is None else along.pushed[i]
            product = None
            if site.reads and not site.few:
                product = rows @ trace.x.mT
                if tangent is not None:
                    product[:, : site.inputs].addmm_(trace.delta, tangent.mT)
            if site.makes is not None:
                found[site.makes] = (
                    _slope(site, trace, rows, tangent) if product is None else product @ trace.read.mT
                )
            if i == self._lowest:
                break
            below = None if along is None or not site.counts else self._from_gradient(i, trace, along)
            if site.reads and site.few:
                below = _through_few(site, trace, theta, tangent, below)
            else:
                below = _plus(below, trace.core.mT, rows)
                if product is not None:
                    below = _through_many(site, trace, site.back(theta, product), below)
            link = self._sites[i - 1].stage.link
            assert link is not None
            rows = link.pull_more(below)
            bent = None if along is None else link.bend(along.tangents[i - 1])
            rows = rows if bent is None else rows + bent
        return found

    def _from_gradient(self, i: int, trace: Trace, along: "Along") -> Tensor:
        """The part of a derivative by inputs that comes from the gradient of this layer."""
        n, gradient, counts = self._sites[i].inputs, along.gradients[i], self._sites[i].counts
        delta = trace.delta if counts == 1.0 else counts * trace.delta
        if gradient is None:
            return trace.x[:n] @ (trace.delta.mT @ delta)
        return gradient[:, :n].mT @ delta

    def _numbers(self, squares: list[Tensor], loss: Tensor) -> tuple[float, float]:
        """Half of the squared gradient norm, and the loss, in one transfer."""
        *parts, value = torch.stack([*squares, loss.to(squares[0])]).tolist()
        return 0.5 * sum(s.counts * p for p, s in zip(parts, self._sites, strict=True)), value

    def _makers(self) -> list[Site]:
        return sorted((s for s in self._sites if s.makes is not None), key=lambda s: s.makes or 0)

    def _theta(self, site: Site, thetas: Sequence[Tensor]) -> Tensor | None:
        return None if site.makes is None else thetas[site.makes]

    def _reach(self, traces: list[Trace]) -> float:
        """Largest change of a matrix as a fraction of what is allowed; not a number if one is not finite."""
        changes = [
            torch.linalg.vector_norm(t.w - s.matrix) / (a * s.size)
            for s, t, a in zip(self._sites, traces, self._allowed, strict=True)
            if s.moves and a > 0.0
        ]
        return float(torch.stack(changes).amax()) if changes else 0.0

    def _allows(self, there: Arrival, radius: float) -> bool:
        """Is all finite, no matrix or element farther than allowed, and the loss what it was?"""
        if not isfinite(there.value) or not there.reach <= 1.0:
            return False
        longest = max(float(torch.linalg.vector_norm(t)) for t in there.thetas)
        if not longest <= radius * (1.0 + SLACK * (1.0 - radius)):
            return False
        eps = max(torch.finfo(s.stage.layer.weight.dtype).eps for s in self._sites)
        bound = eps**0.5 if self.exact else max(LEVEL, 16 * eps)
        return abs(there.loss - self._chain.loss) <= bound * abs(self._chain.loss)

    def _levelled(self, thetas: list[Tensor], level: "Level | None", rounds: int = 6) -> "Arrival":
        """Arrive, and correct thetas, in some rounds, until the loss is what it was, to LEVEL or four roundings."""
        tolerance = max(LEVEL, 4 * torch.finfo(thetas[0].dtype).eps) * abs(self._chain.loss)
        there = self.arrive(thetas)
        for _ in range(rounds):
            if (
                level is None
                or not there.reach <= 1.0
                or not tolerance < abs(there.loss - self._chain.loss) < torch.inf
            ):
                break
            there = self.arrive(level.shifted(there.thetas, self._chain.loss - there.loss))
        return there


def _slope(site: Site, trace: Trace, rows: Tensor, tangent: Tensor | None) -> Tensor:
    """Derivative by theta at fixed inputs, for w = u + theta q^T u, where the outputs before g are known."""
    slope = rows @ (site.t if site.kept else trace.read @ trace.x).mT
    if tangent is None:
        return slope
    return slope.addmm_(trace.delta, (trace.read[:, : site.inputs] @ tangent).mT)


def _through_few(
    site: Site, trace: Trace, theta: Tensor | None, tangent: Tensor | None, below: Tensor | None
) -> Tensor:
    """Derivative by the inputs of a layer through its fit, where that is exact."""
    if tangent is None:
        return torch.zeros_like(trace.x[: site.inputs]) if below is None else below
    x, delta = trace.x[: site.inputs], site.back(theta, trace.delta)
    assert trace.cholesky is not None
    cross = trace.cholesky.divide(tangent.mT @ x).mT
    below = _plus(below, trace.u[:, : site.inputs].mT, (delta @ cross.mT).neg_())
    return below.addmm_(torch.addmm(tangent, x, cross, alpha=-1), delta.mT @ trace.fit)


def _through_many(site: Site, trace: Trace, product: Tensor, below: Tensor) -> Tensor:
    """The same for a least-squares fit, with the derivative of its residual; product is the derivative by u."""
    assert trace.cholesky is not None
    solved, n = trace.cholesky.divide(product), site.inputs
    core, read, y = solved[:, :n].mT, trace.u[:, :n].mT, site.stage.rows
    if 2 * len(y) < n:
        residual = torch.addmm(y, trace.u, trace.x, alpha=-1)
        return below.addmm_(core, residual).addmm_(read, solved @ trace.x, alpha=-1)
    mixed = trace.u.mT @ solved
    return below.addmm_(core, y).addmm_((mixed + mixed.mT)[:n], trace.x, alpha=-1)


def _plus(below: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return a @ b if below is None else below.addmm_(a, b)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))


def _weight(layer: Layer, weights: Mapping[str, float] | None) -> float:
    if weights is None:
        return float(layer.weight.requires_grad)
    return weights.get(f"{layer.name}.weight" if layer.name else "weight", 0.0)


def _stepped(
    thetas: list[Tensor], slopes: list[Tensor], length: float, level: "Level | None", missing: float
) -> list[Tensor] | None:
    """A step of a length along the slopes, or along their part that keeps the loss, and back to it; None at the end."""
    norms = [torch.linalg.vector_norm(s) for s in slopes]
    dots = (
        [] if level is None else [torch.dot(s.view(-1), t) for s, t in zip(slopes, level.flat, strict=True)]
    )
    numbers = torch.stack([*norms, *dots]).tolist()
    sizes, inner = numbers[: len(norms)], numbers[len(norms) :]
    squares, part = [n * n for n in sizes], 0.0
    if level is not None:
        part = sum(inner) / level.steepness
        along = zip(squares, inner, level.squares, strict=True)
        squares = [s - 2 * part * d + part * part * t for s, d, t in along]
    longest = max(max(squares), 0.0) ** 0.5
    if not 1e-6 * max(sizes) < longest < torch.inf:
        return None
    rate = length / longest
    stepped = [torch.add(t, s, alpha=rate) for t, s in zip(thetas, slopes, strict=True)]
    return stepped if level is None else level.shifted(stepped, missing, -rate * part)


@dataclass(frozen=True)
class Level:
    """The direction along which the loss changes first.

    Attributes:
        tilts: The derivative of the loss over the elements.
        flat: The same as vectors.
        squares: Their squared norms.
        steepness: The sum of these.
    """

    tilts: list[Tensor]
    flat: list[Tensor]
    squares: list[float]
    steepness: float

    @classmethod
    def of(cls, tilts: list[Tensor]) -> "Level | None":
        """None if there is no such direction."""
        flat = [t.reshape(-1) for t in tilts]
        squares = torch.stack([torch.dot(t, t) for t in flat]).tolist()
        return cls(tilts, flat, squares, sum(squares)) if 0.0 < sum(squares) < torch.inf else None

    def shifted(self, thetas: list[Tensor], missing: float, further: float = 0.0) -> list[Tensor]:
        """Moved by a Newton step that changes the loss by what is missing, and by a multiple of the tilts."""
        by = missing / self.steepness + further
        return [torch.add(t, s, alpha=by) for t, s in zip(thetas, self.tilts, strict=True)]


def _within(theta: Tensor, radius: float) -> Tensor:
    length = torch.linalg.vector_norm(theta)
    return theta * (radius / length.clamp_min(max(radius, torch.finfo(theta.dtype).tiny)))
