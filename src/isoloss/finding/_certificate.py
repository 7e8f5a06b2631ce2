"""Are these all the symmetries? The dimension of the orbit against that of the Jacobian's null space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.utils._pytree import tree_map

from isoloss.finding._across import across, along, at_example, coordinates
from isoloss.finding._complement import Complement
from isoloss.finding._find import Inputs, _arguments, _check, _copied, _double, find
from isoloss.finding._growth import draws, look
from isoloss.finding._jacobian import Jacobian
from isoloss.finding._verify import Verifier
from isoloss.finding._world import settings
from isoloss.symmetry import Symmetry, named_tensors


@dataclass(frozen=True)
class Certificate:
    """What is known about the completeness of a set of symmetries.

    Attributes:
        complete: Do the symmetries account for every direction that leaves the outputs unchanged?
        orbit_dimension: Dimension of the orbit of the exact symmetries; the null space is at least as large.
        nullity: Dimension of the null space of the Jacobian over the inputs; an upper bound, see `certificate`.
        parameters: Number of coordinates counted: entries of all parameters, and of the buffers that move.
        inputs: Number of inputs used, at the point that the numbers belong to.
        points: Number of points of parameter space that were tried.
        plateaued: Has the nullity stopped shrinking?
        gap: Smallest singular value counted as not zero over the largest counted as zero.
        unexplained: Parameters along which the directions that no symmetry explains mostly lie.
        history: Pairs (number of inputs, nullity).
    """

    complete: bool
    orbit_dimension: int
    nullity: int
    parameters: int
    inputs: int
    points: int
    plateaued: bool
    gap: float
    unexplained: tuple[str, ...] = ()
    history: tuple[tuple[int, int], ...] = ()

    @property
    def missing(self) -> int:
        """Number of directions that no symmetry explains."""
        return self.nullity - self.orbit_dimension

    def __str__(self) -> str:
        over = (
            f"{self.parameters} parameters, {self.inputs} input{'s' * (self.inputs > 1)}, "
            f"{self.points} point{'s' * (self.points > 1)}, singular values {self.gap:.0e} apart"
        )
        orbit = f"the orbit has dimension {self.orbit_dimension}"
        if self.complete:
            return f"complete: {orbit}, and so has the null space of the Jacobian ({over})"
        if not self.plateaued:
            return (
                f"undecided: {orbit}, the null space of the Jacobian at most {self.nullity} ({over}); "
                "it was still shrinking, or no gap was clear: raise budget"
            )
        return (
            f"not complete: {orbit}, the null space of the Jacobian {self.nullity} ({over}); "
            f"{self.missing} direction{'s' * (self.missing > 1)} unexplained, in {', '.join(self.unexplained)}"
        )


def certificate(
    model: nn.Module,
    example_inputs: Inputs,
    symmetries: Iterable[Symmetry] | None = None,
    *,
    vocabulary: int | None = None,
    points: int = 4,
    budget: int = 2048,
    limit: int = 10_000,
    frozen: Literal["move", "hold"] = "move",
    seed: int = 0,
) -> Certificate:
    r"""Compare the orbit of the symmetries with all that leaves the outputs unchanged, to first order.

    The velocities of the exact symmetries span the tangent space of the orbit. It lies in the null space of the
    Jacobian of the outputs over any set of inputs:

    .. math:: \dim \text{orbit} \;\le\; \dim \ker J_N, \qquad J_N = \partial (f(x_1), \dots, f(x_N)) / \partial w

    Both are measured in float64 at a generic point near the model's own. Where they meet, no symmetry that holds at
    every point is missing, of whatever kind. Else N doubles until the null space has not shrunk over two doublings
    (`plateaued`) or the budget is spent. What is left then belongs to symmetries that are not in the list, perhaps
    of no known family, or to activation regions of a piecewise linear network that no input visited: the null space
    over a sample of inputs is an upper bound, and where regions are rare a loose one. A unit that is dead at the
    point leaves its weights free there, so that other points, further away, are tried as well; the best counts.

    Singular values above 1e-8 of the longest row count; of those below, all above the widest gap. A verdict needs a
    gap of 1e4.

    Coordinates are all parameters, and those buffers that a continuous exact symmetry moves and the outputs depend
    on: running means, if a bias slides into them. Symmetries up to eps are neither counted nor needed, unless the
    eps is so small (1e-10) that the Jacobian cannot tell them from exact ones.

    The first input is the example. The others are like it: floats are normal, with its root mean square times a
    log-normal factor, so that they also visit what lies far out; integers are uniform below the vocabulary; booleans,
    tensors of zeros, ones and infinities, and constant integers stay.

    Args:
        model: A small module; it is not touched.
        example_inputs: As for `find`.
        symmetries: What to judge; found first if it is None.
        vocabulary: Integer inputs are drawn below it; by default one more than the largest in the example.
        points: At most so many points of parameter space.
        budget: At most so many inputs at each.
        limit: At most so many coordinates. The time grows with their cube, the memory with their square.
        frozen: As for `find`: whether parameters that do not require gradients may move, and so count.
        seed: Seed of the point and of the inputs.

    Returns:
        The certificate; print it.

    Raises:
        ValueError: If the model has more coordinates than the limit, cannot run on random inputs, or changes its
            outputs along a symmetry that is said to be exact.
    """
    args, kwargs = _arguments(example_inputs)
    _check(model)
    held = {n for n, p in model.named_parameters() if frozen == "hold" and not p.requires_grad}
    _refuse(sum(p.numel() for n, p in model.named_parameters() if n not in held), limit)
    if symmetries is None:
        symmetries = find(model, example_inputs, frozen=frozen)
    exact = [s for s in symmetries if s.exact and s.dim and not held.intersection(s.parameters)]
    with settings():
        twin = _copied(model)
        args, kwargs = tree_map(_double, (args, kwargs))
        moving = coordinates(twin, exact, held)
    verifier = Verifier(twin, args, kwargs, moving, named_tensors(model), seed)  # Moves the copy a little.
    best = _at_point(verifier, exact, vocabulary, budget)
    while not best.complete and best.points < points:
        _move_away(verifier)
        there = _at_point(verifier, exact, vocabulary, budget)
        better = there if (not there.complete, there.missing) < (True, best.missing) else best
        best = replace(better, points=best.points + 1)
    return best


def _at_point(verifier: Verifier, exact: list[Symmetry], vocabulary: int | None, budget: int) -> Certificate:
    twin, args, kwargs, random = verifier.twin, verifier.args, verifier.kwargs, verifier.random
    jacobian, rows = at_example(Jacobian(twin, verifier.tensors, random), args, kwargs)
    basis, visible = across(exact, jacobian, rows)
    # The orbit is in the null space; what else is, is looked for across it.
    space, orbit = Complement(basis), len(basis) - basis.shape[1]
    seen = look(space, jacobian, rows, draws(args, kwargs, vocabulary, random), budget, visible)
    return Certificate(
        complete=seen.plateaued and not seen.null.dimension,
        orbit_dimension=orbit,
        nullity=orbit + seen.null.dimension,
        parameters=jacobian.columns,
        inputs=seen.inputs,
        points=1,
        plateaued=seen.plateaued,
        gap=seen.gap,
        unexplained=along(space.directions(), jacobian.tensors),
        history=tuple((inputs, orbit + left) for inputs, left in seen.history),
    )


@torch.no_grad()
def _move_away(verifier: Verifier) -> None:
    """Far enough for other units to be dead; running variances stay positive."""
    for name, t in verifier.tensors.items():
        noise = torch.randn(t.shape, generator=verifier.random, dtype=t.dtype).to(t.device)
        if name.endswith("running_var"):
            t.mul_(noise.mul_(0.5).exp_())
        elif t.numel():
            t.add_(noise * t.square().mean().sqrt()).mul_(0.7)  # about as large as before


def _refuse(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(
            f"certificate: the time grows with the cube of the number of parameters, {limit:,} at the most; "
            f"got {size:,}; certify a narrower model of the same architecture, or pass limit={size} and wait "
            "(10,000 take minutes and 2 GB, twice as many eight times as long and four times the memory)."
        )
