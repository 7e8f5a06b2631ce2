"""The element of one group that takes some vectors to others: one closed form per group, all vectorized."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.connect.recover._assignment import assignment
from isoloss.connect.recover._views import View
from isoloss.groups import (
    Affine,
    ComplexScaling,
    GeneralLinear,
    Group,
    Orthogonal,
    Permutation,
    PositiveScaling,
    SignFlip,
)
from isoloss.groups._orthogonal import _orthogonal_to_ones

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Solution:
    """An element, and how much of it the vectors determine.

    Attributes:
        element: Shape (B, *element_shape), float64 or indices; where nothing is known, that of the identity.
        known: Share of the element that the vectors determine: 1 if it is unique.
    """

    element: Tensor
    known: float


def permutation(group: Group, views: list[View]) -> Solution:
    """Match the coordinates by the vectors that they carry: nearest first, an assignment problem if that is no match.

    It is unique where no two coordinates carry the same vector.
    """
    cost = inner = 0.0
    for v in views:
        x, y = v.x.mT, v.y.mT
        cost = cost + _squares(y, x, v.signed)
        inner = inner + _squares(y, y, v.signed)
    assert isinstance(cost, Tensor) and isinstance(inner, Tensor)
    g = torch.stack([assignment(c) for c in cost])
    n = group.n
    scale = inner.amax((-2, -1), keepdim=True)
    # Vectors nearer to one another than a ten-thousandth of the digits leaves nothing between them to tell apart.
    twins = (inner + torch.eye(n).to(inner) * (scale + 1)) <= 1e-12 * scale
    return Solution(g, 1.0 - twins.any(-1).double().mean().item())


def _squares(y: Tensor, x: Tensor, signed: bool) -> Tensor:
    # Not by products: differences far below the norms must count.
    exact = "donot_use_mm_for_euclid_dist"
    d = torch.cdist(y, x, compute_mode=exact).square()
    return torch.minimum(d, torch.cdist(y, -x, compute_mode=exact).square()) if signed else d


def scaling(group: Group, views: list[View]) -> Solution:
    """Factors from the lengths of the vectors, to the power of one over the charge; lengths of zero say nothing."""
    views = [v for v in views if v.charge != 0]
    logs, weights = zip(*(_log_ratio(v) for v in views), strict=True)
    weight = torch.stack(weights).sum(0)
    log = torch.stack([x * w for x, w in zip(logs, weights, strict=True)]).sum(0) / weight.clamp_min(1e-300)
    return Solution(log.exp(), (weight > 0).double().mean().item())


def _log_ratio(v: View) -> tuple[Tensor, Tensor]:
    x, y = (torch.linalg.vector_norm(t, dim=1) for t in (v.x, v.y))
    seen = (x > 0) & (y > 0)
    log = torch.where(seen, y, 1.0).log() - torch.where(seen, x, 1.0).log()
    return log / v.charge, seen.double()


def sign(group: Group, views: list[View]) -> Solution:
    """Signs of the inner products, of odd charges."""
    votes = [_cosine(v) for v in views if v.charge % 2 == 1]
    if not votes:
        return Solution(group.identity((views[0].x.shape[0],), dtype=torch.float64), 0.0)
    vote = torch.stack(votes).sum(0)
    return Solution(torch.where(vote < 0, -1.0, 1.0).double(), (vote != 0).double().mean().item())


def _cosine(v: View) -> Tensor:
    inner = (v.x * v.y).sum(1)
    norms = torch.linalg.vector_norm(v.x, dim=1) * torch.linalg.vector_norm(v.y, dim=1)
    return inner / norms.clamp_min(torch.finfo(torch.float64).tiny)


def complex_scaling(group: Group, views: list[View]) -> Solution:
    """Quotients of inner products, conjugated where the charge is negative."""
    top, bottom = 0.0, 0.0
    for v in views:
        x, y = (torch.complex(*t.unbind(-2)) for t in (v.x, v.y))
        if v.charge < 0:  # y = x / conj(g), hence x = conj(g) y, and conj(x) = g conj(y)
            x, y = y.conj(), x.conj()
        square = x.abs().square().sum(1)
        weight = torch.where(square > 0, 1 / square.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
        top = top + weight * (y * x.conj()).sum(1)
        bottom = bottom + (square > 0)
    assert isinstance(top, Tensor) and isinstance(bottom, Tensor)
    seen = (bottom > 0) & (top.abs() > 0)
    g = torch.where(seen, top / bottom.clamp_min(1), 1.0 + 0.0j)
    return Solution(torch.view_as_real(g), seen.double().mean().item())


def general_linear(group: Group, views: list[View]) -> Solution:
    r"""Least squares over both charges at once, a Sylvester equation; the solution nearest to the identity.

    .. math:: \min_g \lVert g X_+ - Y_+ \rVert^2 + \lVert g^T Y_- - X_- \rVert^2
        \quad\Longleftrightarrow\quad g\, X_+ X_+^T + Y_- Y_-^T g = Y_+ X_+^T + Y_- X_-^T

    Both Gram matrices are diagonalized, so the solution costs a few products. Two more rounds with the residual take
    back the digits that squaring lost.
    """
    n, batch = group.n, views[0].x.shape[0]
    x, y = _columns(views, n, batch, 1)
    p, q = _columns(views, n, batch, -1)  # q = g^-T p
    left, u = torch.linalg.eigh(q @ q.mT)
    right, v = torch.linalg.eigh(x @ x.mT)
    sums = left.unsqueeze(-1) + right.unsqueeze(-2)
    firm = sums > 10 * n * EPS * sums.amax((-2, -1), keepdim=True)
    g = torch.eye(n, dtype=torch.float64).to(x).repeat(batch, 1, 1)
    for _ in range(3):
        residual = (y - g @ x) @ x.mT + q @ (p.mT - q.mT @ g)
        step = torch.where(firm, (u.mT @ residual @ v) / torch.where(firm, sums, 1.0), 0.0)
        g = g + u @ step @ v.mT
    return Solution(g, firm.double().mean().item())


def _columns(views: list[View], n: int, batch: int, sign: int) -> tuple[Tensor, Tensor]:
    chosen = [v for v in views if v.charge * sign > 0]
    if not chosen:
        nothing = views[0].x.new_zeros(batch, n, 0)
        return nothing, nothing
    return torch.cat([v.x for v in chosen], 1).mT, torch.cat([v.y for v in chosen], 1).mT


def orthogonal(group: Group, views: list[View]) -> Solution:
    """The polar factor of the covariance (Procrustes), in the complement of the ones if they are fixed."""
    assert isinstance(group, Orthogonal)
    x, y = (torch.cat([getattr(v, end) for v in views], 1).mT for end in ("x", "y"))
    frame = _orthogonal_to_ones(group.n).to(x) if group.fixes_ones else None
    if frame is not None:
        x, y = frame.mT @ x, frame.mT @ y
    u, s, vt = torch.linalg.svd(y @ x.mT)
    known = 1.0
    if s.shape[-1]:
        firm = s > 10 * group.n * EPS * s[..., :1]
        known = firm.double().mean().item()
    g = u @ vt
    if frame is not None:
        g = frame @ g @ frame.mT + 1 / group.n
    return Solution(g, known)


def affine(group: Group, views: list[View]) -> Solution:
    """Least squares over the points alone; vectors of charge -1 are left to be compared with."""
    n, batch = group.n, views[0].x.shape[0]
    x, y = _columns(views, n, batch, 1)
    base = group.identity((batch,), dtype=torch.float64).to(x)
    if not x.shape[-1]:
        return Solution(base, 0.0)
    homogeneous = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    residual = y - base @ homogeneous
    singular = torch.linalg.svdvals(homogeneous)
    known = (singular > 10 * n * EPS * singular[..., :1]).double().sum(-1).min().item() / (n + 1)
    return Solution(base + residual @ torch.linalg.pinv(homogeneous), known)


SOLVERS: dict[type[Group], Callable[[Group, list[View]], Solution]] = {
    Permutation: permutation,
    PositiveScaling: scaling,
    SignFlip: sign,
    ComplexScaling: complex_scaling,
    GeneralLinear: general_linear,
    Orthogonal: orthogonal,
    Affine: affine,
}
