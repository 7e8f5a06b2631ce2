"""A layer of a chain as the search sees it: fitted to its inputs in the moved network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.dependent._chain import Stage

# Damping of the Gram matrices of the search, relative to their trace, in units of eps: what a Cholesky factorization
# of rounded entries needs. The final move is factored anew, by rank.
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
        q: Orthonormal basis of the pre-activations, shape (h, r); empty if it makes no units.
        t: The pre-activations in that basis, shape (r, k).
        counts: Is the weight trained, so that its gradient counts?
    """

    stage: Stage
    matrix: Tensor
    inputs: int
    reads: bool
    makes: int | None
    still: bool
    kept: bool
    q: Tensor
    t: Tensor
    counts: bool

    @classmethod
    def of(cls, stage: Stage, makes: int | None, reads: bool, still: bool) -> "Site":
        """Look at a layer; `still` says that nothing below it moves its inputs."""
        matrix, y = stage.layer.matrix, stage.rows
        empty = y.new_zeros(len(y), 0)
        q, t = (empty, y.new_zeros(0, y.shape[1])) if makes is None else _basis(y)
        few = stage.columns.shape[1] <= len(stage.columns)
        kept = still or (reads and few)
        inputs = matrix.shape[1] - (stage.layer.bias is not None)
        counts = stage.layer.weight.requires_grad
        return cls(stage, matrix, inputs, reads, makes, still, kept, q, t, counts)

    @property
    def few(self) -> bool:
        """Are there no more samples than columns of the weight, so that any outputs can be fitted?"""
        return self.stage.columns.shape[1] <= len(self.stage.columns)

    @property
    def by_gram(self) -> bool:
        """Is the Gram matrix of the samples cheaper than the gradient?"""
        outputs, inputs = self.matrix.shape
        return 2 * self.stage.columns.shape[1] * (outputs + inputs) < 3 * outputs * inputs

    def fitted(self, x: Tensor, theta: Tensor | None, bottom: bool) -> "Trace":
        """The layer on moved inputs, fitted if it reads a pair, and moved by g if it makes one.

        Args:
            x: Columns.
            theta: The g of its pair is 1 + theta q^T.
            bottom: Is it the first layer, whose weight no tangent or cotangent passes?
        """
        y, trace = self.stage.rows, Trace(x, self.matrix, self.matrix, self.stage.rows)
        if self.reads:
            gap = y - self.matrix @ x
            if self.few:
                trace.gram = x.mT @ x
                trace.factor = _cholesky(trace.gram)
                trace.fit = torch.cholesky_solve(gap.mT, trace.factor)
                trace.u = torch.addmm(self.matrix, trace.fit.mT, x.mT)
            else:
                trace.factor = _cholesky(x @ x.mT)
                trace.u = self.matrix + torch.cholesky_solve(x @ gap.mT, trace.factor).mT
        if not self.kept:
            trace.ux = trace.u @ x
        trace.w, trace.z = trace.u, trace.ux
        if theta is not None:
            trace.z = torch.addmm(trace.ux, theta, self.t if self.kept else self.q.mT @ trace.ux)
            if not bottom:
                trace.read = self.q.mT @ trace.u
                trace.w = torch.addmm(trace.u, theta, trace.read)
        return trace

    def back(self, theta: Tensor | None, v: Tensor) -> Tensor:
        """The product of the transpose of g with v."""
        return v if theta is None else torch.addmm(v, self.q, theta.mT @ v)


class Trace:
    """What one pass leaves behind for one layer.

    Attributes:
        x: Its inputs, in the moved network.
        u: Its matrix, fitted to them.
        w: The matrix after g.
        ux: Its outputs before g.
        z: Its outputs.
        gram: The Gram matrix of the samples, if there are few.
        factor: Cholesky factor of that of the samples, or of that of the inputs.
        fit: (x^T x)^-1 (y - w0 x)^T, if there are few samples.
        read: q^T u.
        delta: Gradient of the loss by z.
    """

    def __init__(self, x: Tensor, u: Tensor, w: Tensor, ux: Tensor):
        self.x, self.u, self.w, self.ux, self.z = x, u, w, ux, ux
        self.gram: Tensor | None = None
        self.factor = self.fit = self.read = self.delta = x.new_zeros(0)


def _cholesky(gram: Tensor) -> Tensor:
    damped = gram.clone()
    diagonal = damped.diagonal()
    eps = torch.finfo(gram.dtype).eps
    factor, info = torch.linalg.cholesky_ex(_raised(damped, diagonal, DAMPING * eps))
    for _ in range(3):
        if not bool(info):
            break
        # Rounding has made it indefinite.
        eps *= 30
        factor, info = torch.linalg.cholesky_ex(_raised(damped, diagonal, DAMPING * eps))
    return factor


def _raised(damped: Tensor, diagonal: Tensor, by: float) -> Tensor:
    diagonal.add_(by * diagonal.sum())
    return damped


def _basis(y: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns that span those of y, and y in them."""
    if y.shape[1] >= len(y):
        return torch.eye(len(y)).to(y), y
    q = torch.linalg.qr(y).Q
    return q, q.mT @ y
