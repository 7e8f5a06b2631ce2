"""What leaves a model's outputs unchanged on given inputs and is the direction of no known symmetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from isoloss.finding._across import across, along, at_example, coordinates
from isoloss.finding._complement import Complement
from isoloss.finding._find import Inputs, _arguments, _check, _copied, _double, find
from isoloss.finding._growth import CLEAR, Arguments, draws, look
from isoloss.finding._jacobian import Jacobian
from isoloss.finding._tape import tensors_in
from isoloss.finding._world import Float64World, settings, without_trace
from isoloss.symmetry import Symmetries, Symmetry, named_tensors

WHERE = "unexplained"


@dataclass(frozen=True)
class Unexplained:
    """The null space of the Jacobian over some inputs beside the tangent space of the orbit.

    Attributes:
        nullity: Dimension of the null space at these parameters, over these inputs.
        explained: Dimension of the orbit of the exact symmetries, all of which lies in it.
        outputs: Numbers that must stay unchanged: all of the outputs, or the entries of the loss.
        coordinates: Entries of all parameters, and of the buffers that move with a symmetry.
        directions: An orthonormal basis of what is orthogonal to the orbit in the null space: for each name a tensor
            (number, *shape); together they have length one.
        gap: Smallest singular value counted as not zero over the largest counted as zero.
        visible: The largest change of the outputs along a unit direction of the orbit, relative to the longest row
            of the Jacobian: rounding.
        where: Names of the parameters along which the directions mostly lie.
        history: With `grow`, pairs (number of batches like the inputs, unexplained directions that are left).
        plateaued: With `grow`, whether that has stopped shrinking.
        lasting: With `grow`, an orthonormal basis of the directions that are left, named likewise.
    """

    nullity: int
    explained: int
    outputs: int
    coordinates: int
    directions: dict[str, Tensor] = field(repr=False)
    gap: float
    visible: float
    where: tuple[str, ...] = ()
    history: tuple[tuple[int, int], ...] = ()
    plateaued: bool = False
    lasting: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def number(self) -> int:
        """Directions that no symmetry explains."""
        return self.nullity - self.explained

    @property
    def floor(self) -> int:
        """The least dimension that the null space can have, whatever the model: coordinates less outputs."""
        return max(0, self.coordinates - self.outputs)

    @property
    def clear(self) -> bool:
        """Does the gap leave no doubt about the number? It is at least 1e4."""
        return self.gap >= CLEAR

    @property
    def remaining(self) -> int:
        """Directions that no symmetry explains and that further inputs left; without `grow`, the number."""
        return self.history[-1][1] if self.history else self.number

    def flat(self, lasting: bool = False) -> Tensor:
        """The directions as rows, (number, coordinates), for `principal_angles`.

        Args:
            lasting: Those that are left after growing.
        """
        return torch.cat([t.flatten(1) for t in (self.lasting if lasting else self.directions).values()], 1)

    def __str__(self) -> str:
        said = (
            f"{self.explained} of {self.nullity} directions that leave {self.outputs} "
            f"output{'s' * (self.outputs != 1)} unchanged are explained by symmetries, {self.number} unexplained"
            f"{' in ' + ', '.join(self.where) if self.where else ''} ({self.coordinates} coordinates, so that "
            f"{self.floor} must exist whatever the model; singular values {self.gap:.0e} apart)"
        )
        if not self.clear:
            said += "; the gap is not clear, the number a guess"
        if self.history:
            steps = ", ".join(f"{left} with {batches}" for batches, left in self.history)
            end = "settled" if self.plateaued else "still falling, or without a clear gap"
            said += f"; with so many batches like these inputs: {steps}, {end}"
        return said


def unexplained(
    model: nn.Module,
    inputs: Inputs,
    symmetries: Iterable[Symmetry] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    *,
    grow: bool | Iterable[Inputs] = False,
    vocabulary: int | None = None,
    budget: int = 2048,
    limit: int = 10_000,
    seed: int = 0,
) -> Unexplained:
    r"""Count the directions in which nothing changes on the inputs, and that no symmetry of the network explains.

    .. math:: \ker \frac{\partial (f(x_1), \dots, f(x_N))}{\partial w} \;\ominus\; T_w(\text{orbit})

    The first is what data-dependent symmetries move along (Th. 6.3.1); the second is spanned by the velocities of
    the exact symmetries, and is checked to lie in the first. Both in float64, at the model's own parameters, by the
    rule of `isoloss.certificate` for what counts as zero.

    A matrix with d rows and p columns annihilates p - d dimensions at least. So on few inputs almost every direction
    is a data-dependent symmetry, to first order, of any network whatever: their number alone is no discovery. With
    `grow` further inputs join until the null space has not shrunk over two doublings. What falls away depended on
    the data. What is left leaves the function unchanged as far as anyone has looked: a symmetry that is not in the
    list, or an activation region that no input visited.

    Coordinates are all parameters, and those buffers that an exact symmetry moves and the outputs depend on.
    Symmetries up to eps explain nothing here.

    Args:
        model: A small module; it is not touched.
        inputs: As for `find`: the data.
        symmetries: What explains; found first if it is None.
        loss: A function of the outputs, a number or any tensor; None asks for the outputs themselves.
        grow: True draws further inputs like the first, see `certificate`; or give them, each like `inputs`.
        vocabulary: Integer inputs are drawn below it.
        budget: At most so many inputs, the first among them, each a batch like it.
        limit: At most so many coordinates. The time grows with their cube, the memory with their square.
        seed: Of the inputs.

    Returns:
        The numbers and the directions; print it.

    Raises:
        ValueError: If the model has more coordinates than the limit, cannot run on the inputs, gives nan, or changes
            its outputs along a symmetry that is said to be exact; or the loss is no tensor.

    References:
        Dissertation, Th. 6.3.1 and sections 6.5.4, 6.6 (whether known symmetries are complete). The method is ours.
    """
    args, kwargs = _arguments(inputs)
    _check(model)
    _refuse(sum(p.numel() for p in model.parameters()), limit)
    if symmetries is None:
        symmetries = find(model, inputs)
    elif not isinstance(symmetries, Symmetries):
        symmetries = Symmetries(symmetries)
    symmetries.check_fits(named_tensors(model), WHERE)
    exact = [s for s in symmetries if s.exact and s.dim]
    with settings():
        twin = _copied(model)
        args, kwargs = tree_map(_double, (args, kwargs))
    if loss is not None:
        twin.register_forward_hook(_in_place_of(loss))
    outputs = _outputs(twin, args, kwargs)
    random = torch.Generator().manual_seed(seed)
    jacobian = Jacobian(twin, coordinates(twin, exact, set()), random)
    jacobian, rows = at_example(jacobian, args, kwargs, WHERE)
    basis, visible = across(exact, jacobian, rows, WHERE)
    space = Complement(basis)
    space.add(rows)
    null, here = space.null(), space.directions()
    result = Unexplained(
        nullity=len(basis) - basis.shape[1] + null.dimension,
        explained=len(basis) - basis.shape[1],
        outputs=outputs,
        coordinates=jacobian.columns,
        directions=_named(here, jacobian.tensors),
        gap=null.kept / max(null.dropped, visible),
        visible=visible,
        where=along(here, jacobian.tensors),
    )
    if grow is False:
        return result
    more, budget = _further(grow, args, kwargs, vocabulary, random, budget)
    seen = look(space, jacobian, rows[:0], more, budget, visible, WHERE)
    lasting = _named(space.directions(), jacobian.tensors)
    return replace(result, history=tuple(seen.history), plateaued=seen.plateaued, lasting=lasting)


def _in_place_of(loss: Callable[[Any], Tensor]) -> Callable:
    """A hook that gives the loss of the outputs instead of them."""

    def hook(module: nn.Module, args: tuple, outputs: Any) -> Tensor:
        try:
            y = loss(outputs)
        except Exception as error:
            raise ValueError(
                f"{WHERE}: the loss must be a function of the model's outputs, here in float64; got "
                f"{type(error).__name__}: {error}; close over the targets: loss=lambda y: (y - target).square().sum()."
            ) from error
        if not isinstance(y, Tensor) or not y.is_floating_point():
            got = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(
                f"{WHERE}: the loss must be a tensor of real numbers; got {got}; leave out .item()."
            )
        return y

    return hook


def _outputs(twin: nn.Module, args: tuple, kwargs: dict[str, Any]) -> int:
    """How many numbers come out; those that are infinite are constant."""
    with torch.no_grad(), without_trace(twin), settings(), Float64World():
        found = [t for t in tensors_in(twin(*args, **kwargs)) if t.is_floating_point()]
    if any(bool(t.isnan().any()) for t in found):
        raise ValueError(
            f"{WHERE}: the outputs must be finite; got nan from these inputs; check the parameters and the inputs."
        )
    return sum(int(t.isfinite().sum()) for t in found)


def _further(
    grow: bool | Iterable[Inputs],
    args: tuple,
    kwargs: dict[str, Any],
    vocabulary: int | None,
    random: torch.Generator,
    budget: int,
) -> tuple[Iterator[Arguments], int]:
    """Inputs after the first, and how many there may be with it."""
    if grow is True:
        return draws(args, kwargs, vocabulary, random), budget
    given = [tree_map(_double, _arguments(x)) for x in grow or ()]
    return iter(given), min(budget, 1 + len(given))


def _named(basis: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Columns over all coordinates as tensors of each name, (columns, *shape)."""
    parts = basis.T.split([t.numel() for t in tensors.values()], 1)
    return {n: part.reshape(-1, *t.shape) for (n, t), part in zip(tensors.items(), parts, strict=True)}


def _refuse(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(
            f"{WHERE}: the time grows with the cube of the number of parameters, {limit:,} at the most; got {size:,}; "
            f"take a narrower model of the same architecture, or pass limit={size} and wait (10,000 take minutes and "
            "2 GB, twice as many eight times as long and four times the memory)."
        )
