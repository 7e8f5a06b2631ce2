"""Ascent where the network does not notice: weights move within the null space of their inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss._checks import is_size
from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._climb import climb
from isoloss.teleport._landscape import Landscape, Vector, norm, plus
from isoloss.teleport._layer_inputs import Seen, layer_inputs
from isoloss.teleport._noise import Noise
from isoloss.teleport._point import Point
from isoloss.teleport.objectives import Objective
from isoloss.teleport.solvers._displacement import Displacement
from isoloss.teleport.solvers._settings import check_counts, check_length, check_rate
from isoloss.teleport.solvers._solver import CONSTANT, Solution

FULL = "no weight has directions that its inputs on this minibatch do not see; take fewer examples, or wider layers"


@dataclass(frozen=True)
class NullSpaceProjection(Displacement):
    r"""Climb along the gradient of the objective, projected for every weight on the null space of its inputs.

    .. math:: W \leftarrow W + \eta\, \nabla_W f\, (1 - U U^T), \qquad \operatorname{range} U = \operatorname{range} X

    X has in its columns all vectors that the rows of W are multiplied with on the minibatch: the inputs of a linear
    layer, the patches under a convolution (by group), the tokens before queries, keys and values. No output of any
    layer changes, so steps of any length keep the function on this minibatch, and X is the same after each. On other
    data it is not kept: `max_loss_change` bounds that only as far as its loss is taken on them. Where the examples
    span the inputs there is nothing to move.

    A weight that is used in any other way (tied to an embedding, normalized, masked) stays, as do all biases and
    norms. The radius bounds the distance travelled relative to the length of all parameters.

    Attributes:
        steps: Evaluations of the objective's gradient, after the first one.
        rate: The :math:`\eta` above; None makes every step radius / steps long.
        tolerance: Singular values of X below this, relative to the largest, count as zero, and outputs are kept to
            that accuracy only. None takes what rounding leaves: sqrt(n) eps of the weight's dtype, for n inputs. Larger
            ones free directions that the inputs hardly have.

    References:
        Wu, Dong, Aloui and Tarokh (2025), Teleportation With Null Space Gradient Projection, arXiv:2502.11362.
        Differs: directions are kept by a cut-off on singular values, near rounding, not by their share of the energy;
        the uses of a weight are recorded from the ops that run, not from the type of its module.
    """

    steps: int = 10
    rate: float | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_counts(self, "steps")
        check_rate(self)
        if self.tolerance is not None and not (is_size(self.tolerance) and self.tolerance < 1.0):
            raise ValueError(
                "NullSpaceProjection: tolerance must be a number from 0 to below 1, or None; "
                f"got {self.tolerance!r}; None takes what rounding leaves."
            )

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Also, steps must have a length; see `Displacement.check`."""
        super().check(objective, symmetries, radius, loss)
        check_length(type(self).__name__, radius, self.rate)

    def displaced(
        self, objective: Objective, symmetries: Sequence[Symmetry], point: Point, radius: float
    ) -> Solution:
        """Find new parameters; see `Solver.solve`.

        Raises:
            ValueError: If there is no loss, or steps have no length.
        """
        landscape = Landscape(objective, point, "NullSpaceProjection")
        here = landscape.here
        spaces = null_spaces(point, self.tolerance)
        unit = norm(here) or 1.0

        def projected(w: Vector) -> tuple[Tensor, Vector]:
            value, slope = landscape.slope(w)
            return value, {n: spaces[n].projected(g) if n in spaces else 0.0 * g for n, g in slope.items()}

        end = climb(
            here,
            projected,
            lambda w, slope, t: plus(w, t, slope),
            lambda slope: norm(slope) / unit,
            steps=self.steps,
            radius=radius,
            rate=self.rate,
            lower=objective.lower,
            noise=Noise.of(point, objective),
        )
        return Solution(
            [None] * len(symmetries),
            end.before,
            end.after,
            end.before.new_tensor(norm(plus(end.state, -1.0, here)) / unit),
            displaced={n: end.state[n] for n in spaces} if end.moved else None,
            skipped=None if end.moved else (CONSTANT if spaces else FULL),
        )


@dataclass(frozen=True)
class NullSpace:
    """The directions that the inputs of a weight do not see.

    Attributes:
        parts: First and last (exclusive) row, and an orthonormal basis of the span of their inputs, in rows (float64).
    """

    parts: list[tuple[int, int, Tensor]]

    @property
    def dim(self) -> int:
        """Number of free directions of the weight, over all its rows."""
        return sum((high - low) * (basis.shape[1] - basis.shape[0]) for low, high, basis in self.parts)

    def projected(self, gradient: Tensor) -> Tensor:
        """The part of a gradient within it."""
        rows, found = gradient.flatten(1), torch.zeros_like(gradient).flatten(1)
        for low, high, basis in self.parts:
            some = rows[low:high].double()
            for _ in range(
                2
            ):  # most of a gradient lies outside: what rounding leaves of that is taken away, too
                some = some - some @ basis.mT @ basis
            found[low:high] = some.to(rows)
        return found.view(gradient.shape)


def null_spaces(point: Point, tolerance: float | None = None) -> dict[str, NullSpace]:
    """The null space of the inputs of every weight that has one, on the minibatch of the point's loss.

    Raises:
        ValueError: If the point has no loss.
    """
    loss = point.loss_for("NullSpaceProjection")
    # Copies of their own: memory then says which weight an op reads.
    own = {
        n: t.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        for n, t in point.parameters.items()
        if t.is_floating_point()
    }
    rest = {n: t.detach() for n, t in point.tensors.items() if n not in own}
    with torch.enable_grad():
        seen = layer_inputs(lambda: loss(rest | own), {n: t for n, t in own.items() if t.dim() > 1})
    found = {n: _null_space(own[n], uses, tolerance) for n, uses in seen.items() if uses.otherwise is None}
    return {n: space for n, space in found.items() if space.dim}


def _null_space(weight: Tensor, seen: Seen, tolerance: float | None) -> NullSpace:
    parts = []
    for low, high, x in seen.parts():
        if not x.isfinite().all():  # training has diverged; the objective says so, too
            return NullSpace([])
        _, values, vectors = torch.linalg.svd(x, full_matrices=False)
        cut = (x.shape[1] ** 0.5 * torch.finfo(weight.dtype).eps) if tolerance is None else tolerance
        range_ = values > cut * values.amax() if len(values) else values > 0.0
        parts.append((low, high, vectors[range_]))
    return NullSpace(parts)
