"""The flattest that a minimum can be made along its orbit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import vmap

from isoloss.groups import ComplexScaling, GeneralLinear, PositiveScaling
from isoloss.landscape._hessian import DENSE, Hessian
from isoloss.landscape._peel import vectors_of
from isoloss.landscape._spectrum import zero_tolerance
from isoloss.symmetry import Slot, Symmetries, Symmetry, named_tensors

Vectors = dict[str, Tensor]

# What a step of Newton's method may promise to gain, relative to the trace, for it to be the last. Towards a limit at
# infinity the promise is within a factor of two of what is left, and directions known to eps make it no smaller.
CONVERGED = 1e-10
# Towards a limit at infinity the promise falls by a factor of e a step, to CONVERGED in 23; far starts need more.
STEPS = 200
# Of conjugate gradients, for one step: the digits that they leave are gained by the next.
MOST = 100
EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class LeastTrace:
    """The infimum of the Hessian's trace over an orbit.

    Attributes:
        value: The infimum.
        here: The trace at the point itself.
        steps: Steps of Newton's method; after 200 the value is an upper bound.
        elements: Group elements that come close, one for each symmetry used, in order.
        symmetries: Those that were used.
    """

    value: float
    here: float
    steps: int
    elements: tuple[Tensor, ...] = field(repr=False)
    symmetries: tuple[Symmetry, ...] = field(repr=False)


def least_trace(
    model: nn.Module,
    loss: Callable[[], Tensor],
    symmetries: Iterable[Symmetry],
    *,
    at: Mapping[str, Tensor] | None = None,
    limit: int = DENSE,
) -> LeastTrace:
    r"""The infimum of the trace of the Hessian over the orbit of a minimum: a sharpness of the orbit, not the point.

    .. math:: \inf_g \operatorname{tr} H(g w) = \inf_g \sum_k \lVert J_g^{-T} b_k \rVert^2, \qquad
        H(w) = \sum_k b_k b_k^T

    The Hessian anywhere on the orbit follows from the one here, so the network is not asked again. The sum is convex
    along one-parameter groups of symmetric matrices, hence has no other minima; only the symmetric part of the algebra
    changes it, and Newton's method finds the infimum whether it is attained or a limit (a linear layer whose sides
    differ in rank). For two linear layers and the squared error on whitened inputs it is the nuclear norm of the
    product. Where a scaling has nothing that compensates it, as into a norm without eps, the infimum leaves those
    weights out: they can be made arbitrarily flat.

    Args:
        model: The model.
        loss: Returns the loss; see `Hessian`. The point must be a minimum: no negative eigenvalues.
        symmetries: Exact scalings, complex scalings and matrices between linear maps are used, as far as they move
            parameters only; rotations, signs and permutations change no trace. The value is the same at every point
            of the orbit of these. Translations change it where they pass through a weight, and are not used.
        at: Parameters and buffers by name, where the point is not the model's own.
        limit: Most parameters.

    Returns:
        The infimum, to nine digits of the trace here.

    Raises:
        ValueError: If no symmetry can be used, or the Hessian has negative eigenvalues.
    """
    if isinstance(symmetries, Symmetries):
        symmetries.check_fits(named_tensors(model), "landscape.least_trace")
    hessian = Hessian(model, loss, at=at)
    chosen = [s for s in symmetries if _usable(s, set(hessian.names))]
    if not chosen:
        raise ValueError(
            "landscape.least_trace: there must be an exact scaling or matrix symmetry of the parameters; got none, so "
            "the trace is the same on all of the orbit; take spectrum(model, loss).eigenvalues.sum()."
        )
    eigenvalues, vectors = torch.linalg.eigh(hessian.dense(limit))
    bound = zero_tolerance(eigenvalues)
    if float(eigenvalues.min()) < -bound:
        raise ValueError(
            "landscape.least_trace: the point must be a minimum; got an eigenvalue of "
            f"{float(eigenvalues.min()):.2e} (and a gradient of length {float(hessian.gradient.norm()):.1e}); train on."
        )
    # Not the tolerance of zeros: what is flat here need not be flat elsewhere on the orbit.
    kept = eigenvalues > hessian.size * torch.finfo(eigenvalues.dtype).eps * float(eigenvalues.max())
    rows = (vectors[:, kept] * eigenvalues[kept].sqrt()).T.cpu().double()
    sizes = [t.numel() for t in hessian.tensors.values()]
    shapes = [t.shape for t in hessian.tensors.values()]
    b = {
        n: part.reshape(-1, *shape)
        for n, part, shape in zip(hessian.names, rows.split(sizes, 1), shapes, strict=True)
    }
    here = _square(b)
    # Gradients move with the opposite charges.
    dual = [s.charged(-1) for s in chosen]
    elements = [s.identity(dtype=torch.float64) for s in chosen]
    value, steps = here, 0
    while steps < STEPS:
        a = _newton_direction(dual, b)
        slope = -_slope(dual, a, b)
        if slope <= CONVERGED * here:
            break
        new, there, g = _along(dual, a, b, value, slope)
        if not new < value:
            break  # rounding decides
        value, b = new, there
        elements = [s.group.compose(x, e) for s, x, e in zip(chosen, g, elements, strict=True)]
        steps += 1
    return LeastTrace(value, here, steps, tuple(elements), tuple(chosen))


def _usable(s: Symmetry, names: set[str]) -> bool:
    groups = PositiveScaling, ComplexScaling, GeneralLinear
    plain = all(isinstance(slot, Slot) and slot.linear for slot in s.slots)
    return isinstance(s.group, groups) and plain and s.exact and names.issuperset(s.parameters)


def _square(b: Vectors) -> float:
    return sum(float(x.square().sum()) for x in b.values())


def _velocity(symmetries: list[Symmetry], a: list[Tensor], b: Vectors) -> Vectors:
    """The velocities of all vectors at once."""
    moved = {n: torch.zeros_like(x) for n, x in b.items()}
    for s, direction in zip(symmetries, a, strict=True):
        for slot in s.slots:
            assert isinstance(slot, Slot)
            x = b[slot.parameter]
            v = vmap(
                lambda x, slot=slot, s=s, d=direction: slot.velocity(s.group, d, slot.block.view(x), {})
            )(x)
            places = slot.block.view(torch.arange(x[0].numel()).reshape(x.shape[1:])).reshape(-1)
            moved[slot.parameter] = (
                moved[slot.parameter].reshape(len(x), -1).index_add(1, places, v.reshape(len(x), -1))
            ).reshape(x.shape)
    return moved


def _moment(symmetries: list[Symmetry], b: Vectors, y: Vectors) -> list[Tensor]:
    """The adjoint of `_velocity`, within symmetric matrices and positive scalings."""
    with torch.enable_grad():
        a = [
            torch.zeros(*s.batch, *s.group.algebra_shape, dtype=torch.float64, requires_grad=True)
            for s in symmetries
        ]
        slope = sum((v * y[n]).sum() for n, v in _velocity(symmetries, a, b).items())
        found = torch.autograd.grad(slope, a)  # type: ignore[arg-type]
    return [_symmetric(s, m) for s, m in zip(symmetries, found, strict=True)]


def _symmetric(s: Symmetry, a: Tensor) -> Tensor:
    if isinstance(s.group, GeneralLinear):
        return (a + a.mT) / 2
    if isinstance(s.group, ComplexScaling):
        return torch.stack([a[..., 0], torch.zeros_like(a[..., 1])], -1)  # phases change no length
    return a


def _dot(x: Iterable[Tensor], y: Iterable[Tensor]) -> float:
    return sum(float((u * v).sum()) for u, v in zip(x, y, strict=True))


def _slope(symmetries: list[Symmetry], a: list[Tensor], b: Vectors) -> float:
    """The derivative of the sum of squares along a."""
    v = _velocity(symmetries, a, b)
    return 2 * sum(float((v[n] * x).sum()) for n, x in b.items())


def _newton_direction(symmetries: list[Symmetry], b: Vectors) -> list[Tensor]:
    """Conjugate gradients for the minimum of |b|^2 + 2 <b, a b> + 2 |a b|^2, the sum to second order in symmetric a."""
    r = [-m for m in _moment(symmetries, b, b)]
    solve = [_own_hessian(s, b) for s in symmetries]
    x = [torch.zeros_like(m) for m in r]
    z = [f(u) for f, u in zip(solve, r, strict=True)]
    p, left = z, _dot(r, z)
    first = left
    for _ in range(MOST):
        if left <= 1e-6 * first or left <= 0.0:
            break
        v = _velocity(symmetries, p, b)
        h = [2 * m for m in _moment(symmetries, b, v)]
        curvature = _dot(p, h)
        if curvature <= 0.0:
            break
        step = left / curvature
        x = [u + step * w for u, w in zip(x, p, strict=True)]
        r = [u - step * w for u, w in zip(r, h, strict=True)]
        z = [f(u) for f, u in zip(solve, r, strict=True)]
        new = _dot(r, z)
        p = [u + new / left * w for u, w in zip(z, p, strict=True)]
        left = new
    return x


def _own_hessian(s: Symmetry, b: Vectors) -> Callable[[Tensor], Tensor]:
    """The inverse of the second derivatives along one symmetry alone: what preconditions those along all.

    For matrices it solves :math:`a K + K a = r` with the Gram matrix K of all that they move.
    """
    if isinstance(s.group, GeneralLinear):
        plain = [slot for slot in s.slots if isinstance(slot, Slot)]
        rows = [
            vmap(lambda x, slot=slot: vectors_of(slot, len(s.batch), x))(b[slot.parameter]) for slot in plain
        ]
        gram = sum(torch.einsum("kbri,kbrj->bij", x, x) for x in rows)
        values, basis = torch.linalg.eigh(gram.reshape(*s.batch, s.group.n, s.group.n))  # type: ignore[union-attr]
        both = (values[..., :, None] + values[..., None, :]).clamp_min(_floor(values))
        return lambda r: basis @ ((basis.mT @ r @ basis) / both) @ basis.mT
    ones = torch.ones(*s.batch, *s.group.algebra_shape, dtype=torch.float64)
    (alone,) = _moment([s], b, _velocity([s], [_symmetric(s, ones)], b))
    return lambda r: r / (2 * alone).clamp_min(_floor(alone))


def _floor(values: Tensor) -> float:
    return max(EPS * float(values.max()), torch.finfo(torch.float64).tiny)


def _along(
    symmetries: list[Symmetry], a: list[Tensor], b: Vectors, value: float, slope: float
) -> tuple[float, Vectors, list[Tensor]]:
    """The longest of the steps 1, 1/2, 1/4, ... that gains a hundredth of what the slope promises."""
    # A limit at infinity is approached in steps of length 1/2; much longer ones overshoot.
    longest = max(float(s.group.norm(d).max()) for s, d in zip(symmetries, a, strict=True))
    t = min(1.0, 1.0 / longest) if longest else 1.0
    while True:
        g = [s.group.exp(t * d) for s, d in zip(symmetries, a, strict=True)]
        moved = dict(b)
        for s, x in zip(symmetries, g, strict=True):
            moved |= vmap(lambda some, s=s, x=x: _acted(s, x, some))({n: moved[n] for n in s.parameters})
        new = _square(moved)
        if new <= value - 0.01 * t * slope or t < 1e-6:
            return new, moved, g
        t /= 2


def _acted(s: Symmetry, g: Tensor, tensors: Vectors) -> Vectors:
    moved = dict(tensors)
    for slot in s.slots:
        assert isinstance(slot, Slot)
        x = moved[slot.parameter]
        flat = slot.moved(s.group, g, slot.block.view(x), {}).reshape(-1)
        places = slot.block.view(torch.arange(x.numel()).reshape(x.shape)).reshape(-1)
        moved[slot.parameter] = x.reshape(-1).index_copy(0, places, flat).reshape(x.shape)
    return moved
