"""All symmetries whose directions are linear in known features, in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from isoloss.discovery._space import Space
from isoloss.discovery.null_spaces._algebra import Algebra, algebra_of
from isoloss.discovery.null_spaces._factor import Factor
from isoloss.discovery.null_spaces._features import Feature, Known, feature_of
from isoloss.discovery.null_spaces._flat_loss import AT_ONCE, FlatLoss
from isoloss.discovery.null_spaces._known import across_known, known_generators
from isoloss.discovery.null_spaces._sampled import Sampled
from isoloss.discovery.null_spaces._sparse_basis import sparse_basis
from isoloss.finding._complement import ROUNDING, SMALL, cut
from isoloss.finding._tangents import unit
from isoloss.symmetry import Symmetry

# Rows of the Jacobian for each unknown, and samples for each feature, that a round takes.
ROWS, SAMPLES = 2, 4


@dataclass(frozen=True)
class LinearGenerators:
    r"""Generators h of all directions :math:`v = h\, \phi(\theta, X)` that leave a loss unchanged.

    Attributes:
        generators: Orthonormal in the Frobenius product, of few entries each, (k, p, q).
        singular_values: Of the condition on h, descending: root mean square changes of the loss along directions
            of root mean square length one; the last k are zero up to rounding.
        gap: Smallest singular value that counted over the largest that did not.
        errors: Of each generator, the largest change on samples that it was not fitted to, for rows of the
            Jacobian, features and a generator of length one, (k,).
        samples: How many it was fitted to.
        features: Their name.
        parameters: Where the p coordinates lie.
    """

    generators: Tensor = field(repr=False)
    singular_values: Tensor = field(repr=False)
    gap: float
    errors: Tensor = field(repr=False)
    samples: int
    features: str
    parameters: Space = field(repr=False)
    _loss: FlatLoss = field(repr=False)
    _feature: Feature = field(repr=False)
    _points: tuple[Tensor, Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.generators)

    @property
    def error(self) -> float:
        """The largest of the errors; 0 if there is no generator."""
        return float(self.errors.max()) if len(self) else 0.0

    @property
    def settled(self) -> bool:
        """Do all generators hold on samples that they were not fitted to? Else more samples may refute some."""
        return self.error <= SMALL

    def directions(self, params: Any, data: Any) -> Tensor:
        """The directions at given points, (n, k, p).

        Args:
            params: As for `linear_generators`, (n, *shape).
            data: As many.
        """
        features = vmap(self._feature)(*self._loss.vectors(params, data)).detach()
        return torch.einsum("kpq,nq->nkp", self.generators.to(features), features)

    def field(self, coefficients: Tensor, params: Any, data: Any) -> Any:
        r"""The vector field :math:`\sum_i c_i v_i` at one point; its flow is the action.

        Args:
            coefficients: c, (k,).
            params: Without an axis of samples.
            data: Likewise.

        Returns:
            The velocity, a tree like the parameters, in their dtype.
        """
        theta, x = (
            space.flat(tree_map(lambda t: t[None], tree))[0]
            for space, tree in ((self.parameters, params), (self._loss.data, data))
        )
        h = torch.einsum("k,kpq->pq", coefficients.to(theta), self.generators.to(theta))
        return self.parameters.tree(h @ self._feature(theta, x))

    def beyond(self, symmetries: Iterable[Symmetry]) -> LinearGenerators:
        """Those that known symmetries do not explain: what is left of the span across theirs.

        Args:
            symmetries: Of `isoloss.find`, in a model whose parameters have the names of these; continuous exact ones
                count.

        Raises:
            ValueError: If the features are neither linear nor affine, or a symmetry moves something else, or is not
                affine in the parameters.
        """
        if self.features not in ("linear", "affine"):
            raise ValueError(
                "LinearGenerators.beyond: generators must be matrices on the parameters, as with features='linear' or "
                f"'affine'; got {self.features!r}; compare directions with principal_angles instead."
            )
        left = across_known(self.generators, known_generators(symmetries, self.parameters))
        left = sparse_basis(left.flatten(1)).reshape(left.shape)
        return replace(
            self, generators=left, errors=_Sides.at(self._loss, self._feature, *self._points).changes(left)
        )

    def algebra(self) -> Algebra:
        """Their Lie brackets; see `Algebra`."""
        theta, x = self._points
        enough = max(16, 4 * ceil(len(self) / self.parameters.size))
        return algebra_of(self.generators, self._feature, theta[:enough], x[:enough])

    def __str__(self) -> str:
        k, p, q = self.generators.shape
        count = f"{k} generator{'s' * (k != 1)}" if k else "no generator"
        held = (
            f", error on others {self.error:.0e}"
            if k and self.settled
            else f"; not settled: error on others {self.error:.0e}, give more samples"
            if k
            else ""
        )
        return (
            f"{count} with {self.features} features (h is {p} x {q}; singular values {self.gap:.0e} apart; "
            f"{self.samples} samples{held})"
        )


def linear_generators(
    loss: Callable[[Any, Any], Tensor],
    sample_params: Callable[[int], Any],
    sample_data: Callable[[int], Any],
    features: Known | Feature = "linear",
    *,
    samples: int | None = None,
    rounds: int = 4,
    limit: int = 4096,
) -> LinearGenerators:
    r"""All generators of a class at once, without training.

    A direction that is linear in unknown numbers h leaves the loss unchanged if

    .. math:: J(\theta, X)\, h\, \phi(\theta, X) = 0 \quad \text{for all } \theta, X; \qquad
        \mathbb E\, |J h \phi|^2 = \operatorname{vec}(h)^T \, \mathbb E \bigl[ J^T J \otimes \phi \phi^T \bigr]
        \operatorname{vec}(h),

    a quadratic form whose null vectors are all generators of the class, exact to rounding. Where the learned form
    (6.3) needs terms against collapse, for orthogonality and for sparsity, here they are properties of a basis.

    Rows of J and features are given length one at each sample, so that none dominates, and the condition is
    measured against the length of the directions (features are whitened); features that depend on one another
    count once. The rows :math:`J_r \otimes \phi` are collected in a triangular factor instead of the Gram matrix,
    whose squares would lose half of the digits; see `Factor`. Singular values count by the rule of `cut`: all above
    1e-8 of the largest, and of those below all above the widest gap.

    What is found is tried on new samples. If it changes the loss there by more than 1e-8, as with activation regions
    that were not visited, these samples join the others and it is found again, up to `rounds` times.

    Args:
        loss: Of one sample, loss(params, data): a number, or a vector (d,) of what must all stay unchanged.
        sample_params: n -> tree of tensors (n, *shape), drawn anew at each call.
        sample_data: n -> likewise.
        features: "linear", :math:`\phi = \theta`; "affine", :math:`\phi = (\theta, 1)`; "gradient",
            :math:`\phi = \nabla_\theta L`; or a function of the parameters and the data of one sample as float64
            vectors, differentiable if the algebra is asked for.
        samples: How many each round takes; by default as many as give two rows for each unknown, and four samples
            for each feature.
        rounds: At most so many.
        limit: Most unknowns, p q. The time grows with their cube, the memory with their square.

    Returns:
        The generators; print them.

    Raises:
        ValueError: If there are more unknowns than the limit, a sampler gives other shapes than before, another
            number of samples or the same ones again, or anything is not finite.

    References:
        Dissertation, Th. 6.3.1, Eqs. (6.1) and (6.2), and the weighted objective (6.3) that this replaces for actions
        linear in h. The closed form is ours.
    """
    if (samples is not None and samples < 1) or rounds < 1:
        raise ValueError(
            f"linear_generators: samples and rounds must be 1 at the least; got samples={samples}, rounds={rounds}."
        )
    sampled = Sampled(sample_params, sample_data, "linear_generators")
    flat = FlatLoss.of(loss, *sampled(1), "linear_generators")
    one = flat.vectors(*sampled(1))
    feature = feature_of(features, flat, one[0][0], one[1][0])
    p, q = flat.parameters.size, len(feature(one[0][0], one[1][0]))
    _refuse(p, q, limit)
    some = samples or max(16, SAMPLES * q, ceil(ROWS * p * q / flat.outputs))
    condition, seen = Factor(p * q), Factor(q)
    drawn, fitted = _Sides.at(flat, feature, *flat.vectors(*sampled(some))), 0
    while True:
        seen.add(drawn.features)
        for rows in drawn.products(max(p * q, 256)):
            condition.add(rows)
        fitted += some
        generators, singular, gap = _solved(condition.mean, seen.mean, p)
        drawn = _Sides.at(flat, feature, *flat.vectors(*sampled(some)))
        errors = drawn.changes(generators)
        if not len(errors) or float(errors.max()) <= SMALL or fitted >= rounds * some:
            break
    name = features if isinstance(features, str) else getattr(features, "__name__", "own")
    return LinearGenerators(
        generators,
        singular,
        gap,
        errors,
        fitted,
        name,
        flat.parameters,
        flat,
        feature,
        (drawn.theta, drawn.x),
    )


@dataclass(frozen=True)
class _Sides:
    """Both sides of J h phi at n samples, rows of length one."""

    theta: Tensor
    x: Tensor
    jacobians: Tensor  # (n, d, p)
    features: Tensor  # (n, q)

    @classmethod
    def at(cls, flat: FlatLoss, feature: Feature, theta: Tensor, x: Tensor) -> _Sides:
        jacobians = flat.jacobians(theta, x).cpu()  # where the decompositions are as fast
        features = vmap(feature)(theta, x).detach().cpu()
        wrong = ~features.isfinite().all(1)
        if bool(wrong.any()):
            raise ValueError(
                f"{flat.where}: features must be finite; got nan or inf in {int(wrong.sum())} of {len(wrong)} samples; "
                "keep divisions away from zero."
            )
        floor = ROUNDING * float(jacobians.norm(dim=2).max())
        return cls(theta, x, unit(jacobians, floor), unit(features))

    def products(self, most: int):
        """The rows J_r (x) phi, about so many at a time, each of p q entries."""
        some = max(1, most // self.jacobians.shape[1])
        for j, phi in zip(self.jacobians.split(some), self.features.split(some), strict=True):
            yield (j[:, :, :, None] * phi[:, None, None, :]).flatten(2).flatten(0, 1)

    def changes(self, generators: Tensor) -> Tensor:
        """The largest |J h phi| of each generator."""
        k, p, _ = generators.shape
        some = max(1, AT_ONCE // max(1, k * max(p, self.jacobians.shape[1])))
        worst = generators.new_zeros(k)
        for j, phi in zip(self.jacobians.split(some), self.features.split(some), strict=True):
            moved = torch.einsum("kpq,nq->nkp", generators, phi)
            worst = torch.maximum(worst, torch.einsum("ndp,nkp->ndk", j, moved).abs().amax((0, 1)))
        return worst


def _solved(condition: Tensor, features: Tensor, p: int) -> tuple[Tensor, Tensor, float]:
    """The generators, the singular values and the gap."""
    q = features.shape[1]
    _, size, directions = torch.linalg.svd(features, full_matrices=False)
    rank = cut(size / size[:1].clamp_min(torch.finfo(size.dtype).tiny))
    white = directions[:rank].T / size[:rank]  # phi = white^+ psi with E psi psi^T = 1
    rows = (condition.reshape(-1, p, q) @ white).reshape(len(condition), p * rank)
    _, singular, vh = torch.linalg.svd(rows, full_matrices=True)
    singular = torch.cat([singular, singular.new_zeros(p * rank - len(singular))])
    relative = singular / (float(singular[:1].sum()) or 1.0)
    count = cut(relative)
    kept = float(relative[count - 1]) if count else 1.0
    gap = kept / max([ROUNDING, *relative[count:].tolist()])
    found = (vh[count:].reshape(-1, p, rank) @ white.T).flatten(1)
    found = sparse_basis(torch.linalg.qr(found.T).Q.T) if len(found) else found
    return found.reshape(-1, p, q), singular, gap


def _refuse(p: int, q: int, limit: int) -> None:
    if p * q > limit:
        raise ValueError(
            f"linear_generators: the time grows with the cube of the number of unknowns, {limit:,} at the most; got "
            f"{p * q:,}: {p:,} parameters times {q:,} features; take a narrower network of the same kind and extend "
            f"what is found, or fewer features, or pass limit={p * q} and wait."
        )
