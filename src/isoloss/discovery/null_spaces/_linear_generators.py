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

from isoloss.discovery._loss import Loss
from isoloss.discovery._sampler import Sample, Sampler
from isoloss.discovery._space import Space
from isoloss.discovery.null_spaces._algebra import Algebra, algebra_of
from isoloss.discovery.null_spaces._condition import Condition, Sides, Solved
from isoloss.discovery.null_spaces._features import Feature, Known, feature_of
from isoloss.discovery.null_spaces._flat_loss import FlatLoss
from isoloss.discovery.null_spaces._known import across_known, known_generators
from isoloss.discovery.null_spaces._sparse_basis import sparse_basis
from isoloss.finding._complement import SMALL
from isoloss.symmetry import Symmetry

# Rows of the Jacobian for each unknown, and samples for each feature, that a round takes.
ROWS, SAMPLES = 2, 4
# Between the seeds of different runs.
STRIDE = 1_000_003
WHERE = "linear_generators"


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
            self, generators=left, errors=Sides.at(self._loss, self._feature, *self._points).changes(left)
        )

    def algebra(self) -> Algebra:
        """Their Lie brackets; see `Algebra`."""
        theta, x = self._points
        enough = max(16, 4 * ceil(len(self) / self.parameters.size))
        return algebra_of(self.generators, self._feature, theta[:enough], x[:enough])

    def __str__(self) -> str:
        k, p, q = self.generators.shape
        count = f"{k} generator{'s' * (k != 1)}" if k else "no generator"
        held = f", error on others {self.error:.0e}" if k else ""
        doubt = "" if self.settled else "; not settled, give more samples"
        return (
            f"{count} with {self.features} features (h is {p} x {q}; singular values {self.gap:.0e} apart; "
            f"{self.samples} samples{held}){doubt}"
        )


def linear_generators(
    loss: Loss,
    sample_params: Sample,
    sample_data: Sample,
    features: Known | Feature = "linear",
    *,
    samples: int | None = None,
    rounds: int = 4,
    limit: int = 4096,
    seed: int = 0,
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
        sample_params: n -> tree of tensors (n, *shape), drawn anew at each call; see `normal`.
        sample_data: n -> likewise.
        features: "linear", :math:`\phi = \theta`; "affine", :math:`\phi = (\theta, 1)`; "gradient",
            :math:`\phi = \nabla_\theta L`; or a function of the parameters and the data of one sample as float64
            vectors, differentiable if the algebra is asked for.
        samples: How many each round takes; by default as many as give two rows for each unknown, and four samples
            for each feature.
        rounds: At most so many.
        limit: Most unknowns, p q. The time grows with their cube, the memory with their square.
        seed: Of torch's global generator while samples are drawn; afterwards it is as it was.

    Returns:
        The generators; print them.

    Raises:
        ValueError: If there are more unknowns than the limit, a sampler gives other shapes than before, another
            number of samples or the same ones again, the loss is constant at most of them, or anything is not finite.

    References:
        Dissertation, Th. 6.3.1, Eqs. (6.1) and (6.2), and the weighted objective (6.3) that this replaces for actions
        linear in h. The closed form is ours.
    """
    if (samples is not None and samples < 1) or rounds < 1:
        raise ValueError(
            f"{WHERE}: samples and rounds must be 1 at the least; got samples={samples}, rounds={rounds}."
        )
    sampler = Sampler(sample_params, sample_data, WHERE)
    theta, x = (t.double() for t in sampler(2, seed * STRIDE))
    flat = FlatLoss.of(loss, sampler.params, sampler.data, (theta[0], x[0]), WHERE)
    feature = feature_of(features, flat, theta[0], x[0])
    p, q = flat.parameters.size, len(feature(theta[0], x[0]))
    _refuse(p, q, limit)
    some = samples or max(16, SAMPLES * q, ceil(ROWS * p * q / flat.outputs))

    def draw(turn: int) -> Sides:
        theta, x = (t.double() for t in sampler(some, seed * STRIDE + turn + 1))
        return Sides.at(flat, feature, theta, x)

    turn, solved, errors, held = _fitted(draw, Condition(p, q), rounds)
    name = features if isinstance(features, str) else getattr(features, "__name__", "own")
    return LinearGenerators(
        solved.generators,
        solved.singular_values,
        solved.gap,
        errors,
        turn * some,
        name,
        flat.parameters,
        flat,
        feature,
        (held.theta, held.x),
    )


def _fitted(
    draw: Callable[[int], Sides], condition: Condition, rounds: int
) -> tuple[int, Solved, Tensor, Sides]:
    """Rounds that it took, what was found, its errors on the last samples, and these."""
    turn, held = 0, draw(0)
    while True:
        fitted, turn = held, turn + 1
        condition.add(fitted)
        solved, held = condition.solve(), draw(turn)
        _check_new(fitted, held)
        errors = held.changes(solved.generators)
        if turn == rounds or not len(errors) or float(errors.max()) <= SMALL:
            return turn, solved, errors, held


def _check_new(fitted: Sides, drawn: Sides) -> None:
    if torch.equal(fitted.theta, drawn.theta) and torch.equal(fitted.x, drawn.x):
        raise ValueError(
            f"{WHERE}: samples must be drawn anew at each call; got the same parameters and data again; draw with "
            "torch's global generator, or seed your own outside of the samplers."
        )


def _refuse(p: int, q: int, limit: int) -> None:
    if p * q > limit:
        raise ValueError(
            f"{WHERE}: the time grows with the cube of the number of unknowns, {limit:,} at the most; got "
            f"{p * q:,}: {p:,} parameters times {q:,} features; take a narrower network of the same kind and extend "
            f"what is found, or fewer features, or pass limit={p * q} and wait."
        )
