"""A layer of a chain as the search sees it: fitted to its inputs in the moved network."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import nan

import torch
from torch import Tensor

from isoloss.dependent._chain import Stage
from isoloss.dependent._factor import Cholesky
from isoloss.dependent._link import Link
from isoloss.dependent.actions import Difference

# Damping of the Gram matrices of the search, relative to their diagonals, in units of eps: what a Cholesky
# factorization of rounded entries needs. The final move is factored anew, by rank.
DAMPING = 8.0


@dataclass(frozen=True)
class Site:
    """What is known of a layer before the search starts.

    Attributes:
        stage: The layer and what it sees.
        matrix: Its weight as a matrix, a bias as the last column.
        inputs: Number of columns of the weight without the bias.
        reads: Does it read the units of a pair, so that it is fitted to its inputs?
        makes: Number of the pair whose units it makes, None if it makes none.
        still: Are its inputs what they were, whatever the elements?
        kept: Are its outputs, before g, what they were?
        q: Orthonormal basis of the pre-activations, shape (h, r); None for the identity, or if it makes no units.
        t: The pre-activations in that basis, shape (r, k).
        counts: How much the squared norm of its gradient counts; 0 if the weight is not trained.
        damping: Added to the squared singular values of its inputs where it is fitted to them; zero to fit as well
            as can be.
    """

    stage: Stage
    matrix: Tensor
    inputs: int
    reads: bool
    makes: int | None
    still: bool
    kept: bool
    q: Tensor | None
    t: Tensor
    counts: float
    damping: float

    @classmethod
    def of(cls, stage: Stage, makes: int | None, reads: bool, still: bool, counts: float) -> "Site":
        """Look at a layer; `still` says that nothing below it moves its inputs."""
        y = stage.rows
        matrix = stage.layer.matrix.to(y)
        q, t = (None, y) if makes is None else _basis(y)
        few = stage.columns.shape[1] <= len(stage.columns)
        kept = still or (reads and few)
        inputs = matrix.shape[1] - (stage.layer.bias is not None)
        return cls(stage, matrix, inputs, reads, makes, still, kept, q, t, counts, 0.0)

    def damped(self, damping: float, still: bool) -> "Site":
        """The same with another damping, over layers that may be damped, too."""
        kept = still or (self.reads and self.few and not damping)
        return replace(self, still=still, kept=kept, damping=damping)

    @property
    def moves(self) -> bool:
        """Is its weight one that an element moves?"""
        return self.reads or self.makes is not None

    @property
    def above(self) -> Link:
        """What leads to the inputs of the next layer."""
        assert self.stage.link is not None
        return self.stage.link

    @property
    def sides(self) -> int:
        """Number of the pairs that it belongs to."""
        return self.reads + (self.makes is not None)

    @cached_property
    def size(self) -> Tensor:
        """The norm of its matrix, not zero."""
        return torch.linalg.vector_norm(self.matrix).clamp_min(torch.finfo(self.matrix.dtype).tiny)

    @cached_property
    def few(self) -> bool:
        """Are there no more samples than columns of the weight, so that any outputs can be fitted?"""
        return self.stage.columns.shape[1] <= len(self.stage.columns)

    @cached_property
    def by_gram(self) -> bool:
        """Is the Gram matrix of the samples cheaper than the gradient?"""
        outputs, inputs = self.matrix.shape
        samples = self.stage.columns.shape[1]
        if self.still:  # its Gram matrix is then known
            return samples < 2 * inputs
        return 2 * samples * (outputs + inputs) < 3 * outputs * inputs

    def fitted(self, x: Tensor, theta: Tensor | None, bottom: bool) -> "Trace":
        """The layer on moved inputs, fitted if it reads a pair, and moved by g if it makes one.

        Args:
            x: Columns.
            theta: The g of its pair is 1 + theta q^T.
            bottom: Is it the first layer, whose weight no tangent or cotangent passes?
        """
        y, trace = self.stage.rows, Trace(x, self.matrix, self.stage.rows)
        if self.reads and self.few:
            trace.gram = x.mT @ x
            trace.cholesky = _damped(trace.gram, self.damping)
            trace.fit = trace.cholesky.divide(torch.addmm(y, self.matrix, x, alpha=-1))
            trace.u = torch.addmm(self.matrix, trace.fit, x.mT)
        elif self.reads:
            gram = x @ x.mT
            trace.cholesky = _damped(gram, self.damping)
            gap = torch.addmm(y @ x.mT, self.matrix, gram, alpha=-1)
            trace.u = self.matrix + trace.cholesky.divide(gap)
        trace.w = trace.u
        if theta is not None and not (bottom and self.kept):
            trace.read = self.seen(trace.u)
            trace.w = torch.addmm(trace.u, theta, trace.read)
        if not self.kept:
            trace.z = trace.w @ x
        elif theta is not None:
            trace.z = torch.addmm(trace.z, theta, self.t)
        trace.core = trace.w[:, : self.inputs]
        return trace

    def moved(self, x: Tensor, theta: Tensor | None) -> "Trace":
        """The same, fitted by rank in float64: what is written in the end. Nothing fits inputs that are not finite."""
        u = self.matrix
        if self.reads:
            finite = bool(x.isfinite().all())
            u = self._refitted(x) if finite else torch.full_like(u, nan)
        trace = Trace(x, u, self.stage.rows)
        if theta is not None:
            trace.w = torch.addmm(u, theta, self.seen(u))
        trace.core = trace.w[:, : self.inputs]
        trace.z = trace.w @ x
        return trace

    def _refitted(self, x: Tensor) -> Tensor:
        if not self.damping:
            return Difference().outgoing(x, self.matrix, self.stage.columns, x)
        x, w, y = x.double(), self.matrix.double(), self.stage.rows.double()
        gap = torch.addmm(y, w, x, alpha=-1)
        if self.few:
            return torch.addmm(w, _damped(x.mT @ x, self.damping).divide(gap), x.mT).to(self.matrix)
        return (w + _damped(x @ x.mT, self.damping).divide(gap @ x.mT)).to(self.matrix)

    def seen(self, v: Tensor) -> Tensor:
        """The product of the transpose of q with v."""
        return v if self.q is None else self.q.mT @ v

    def back(self, theta: Tensor | None, v: Tensor) -> Tensor:
        """The product of the transpose of g with v."""
        if theta is None:
            return v
        return torch.addmm(v, theta.mT, v) if self.q is None else torch.addmm(v, self.q, theta.mT @ v)


class Trace:
    """What one pass leaves behind for one layer.

    Attributes:
        x: Its inputs, in the moved network.
        u: Its matrix, fitted to them.
        w: The matrix after g.
        z: Its outputs.
        gram: The Gram matrix of the samples, if there are few.
        cholesky: Division by that of the samples, or by that of the inputs.
        fit: (y - w0 x) (x^T x)^-1, if there are few samples.
        read: q^T u.
        core: w without the bias.
        delta: Gradient of the loss by z.
    """

    def __init__(self, x: Tensor, u: Tensor, z: Tensor):
        self.x, self.u, self.w, self.z = x, u, u, z
        self.gram: Tensor | None = None
        self.cholesky: Cholesky | None = None
        self.fit = self.read = self.core = self.delta = x.new_zeros(0)


def _damped(gram: Tensor, by: float) -> Cholesky:
    """Division by a Gram matrix, damped by a number and by what rounding makes necessary."""
    if by:
        gram = gram.clone()
        gram.diagonal().add_(by)
    eps = torch.finfo(gram.dtype).eps
    cholesky, damping = Cholesky(gram, DAMPING * eps), eps**0.5
    while bool(cholesky.bad) and damping < 1.0:
        # Singular, by units that die or samples that become the same on the way: rounding over the damping is what
        # enters the fit along the null space, the damping what it takes from the rest.
        cholesky = Cholesky(gram + damping * gram.diagonal().amax() * torch.eye(len(gram)).to(gram))
        damping *= 30
    return cholesky


def _basis(y: Tensor) -> tuple[Tensor | None, Tensor]:
    """Orthonormal columns that span those of y, and y in them."""
    if y.shape[1] >= len(y):
        return None, y
    q = torch.linalg.qr(y).Q
    return q, q.mT @ y
