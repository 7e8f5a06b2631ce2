"""Are two sets of parameters on the same orbit, and by which group element?"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from isoloss._checks import is_size
from isoloss.connect._parameters import Parameters, check_symmetries, moving, pair_of
from isoloss.connect.recover import Search
from isoloss.groups import Orthogonal
from isoloss.symmetry import Symmetries, Symmetry


@dataclass(frozen=True)
class GroupElement:
    """What `find_group_element` found.

    Attributes:
        found: Does the element take the first point to the second, up to the tolerance?
        elements: One per symmetry, in their order; the best that was found, also if it does not.
        residual: Distance of the moved first point from the second, over the norm of the second.
        tolerance: What the residual may be.
        output_residual: Relative change of the outputs from the moved first point to the second, if `outputs` was
            given.
        undetermined: Indices of the symmetries of whose element something was left open: several do the same here
            (equal or dead neurons, matrices of deficient rank), or nothing could be told.
    """

    found: bool
    elements: list[Tensor] = field(repr=False)
    residual: float
    tolerance: float
    output_residual: float | None = None
    undetermined: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.found


def find_group_element(
    a: Parameters,
    b: Parameters,
    symmetries: Symmetries,
    *,
    tolerance: float | None = None,
    outputs: Callable[[dict[str, Tensor]], Tensor] | None = None,
) -> GroupElement:
    r"""Find g with :math:`b = g \cdot a`, or say that there is none that was found.

    A planted element is recovered to rounding for permutations, scalings, signs, GL, rotations, complex scalings,
    translations, heads, and their products over many layers; docs/connect.md states how, at which cost (a few
    passes over the parameters, one assignment problem per layer with neurons that look alike), and when it may answer
    "no" although there is one: where no slot of any unknown symmetry is free of all others.

    Args:
        a: A model, or tensors by name.
        b: One of the same architecture.
        symmetries: What may act, as `isoloss.find` returns it.
        tolerance: Largest relative residual of a "yes"; by default half of the digits of the parameters,
            since an element of condition number k loses log10(k) of them.
        outputs: Computes the outputs at given parameters, so that they are compared as well.

    Returns:
        The elements and the residual; its truth value is the answer.

    Raises:
        ValueError: If the points are not of one architecture, or there is no symmetry.
    """
    where = "find_group_element"
    one, two = pair_of(where, a, b)
    check_symmetries(where, symmetries, one)
    if tolerance is not None and not is_size(tolerance):
        raise ValueError(
            f"{where}: tolerance must be a number that is not negative; got {tolerance!r}; "
            "it bounds the relative residual, 1e-8 or so in float64."
        )
    names = moving(one)
    _check_finite(where, one, names)
    _check_finite(where, two, names)
    # The narrower of the two: a float32 point has no more digits.
    eps = max(torch.finfo(t.dtype).eps for n in names for t in (one[n], two[n]))
    allowed = eps**0.5 if tolerance is None else tolerance
    start, end = ({n: t[n].double() for n in names} for t in (one, two))
    # The search goes on until three quarters of the digits agree: rounding of the points leaves no more than that.
    search = Search(symmetries, start, end, goal=max(min(eps**0.75, allowed / 10), 1e-13))
    with torch.no_grad():
        elements = search.run()
        there = start | symmetries.act(elements, start)
        gap = torch.stack([(there[n] - end[n]).square().sum() for n in names]).sum().sqrt()
        size = torch.stack([t.square().sum() for t in end.values()]).sum().sqrt()
        residual = float(gap / size) if size > 0 else float(gap)
        change = None if outputs is None else _change(outputs(there), outputs(end))
    valid = all(_lies_in(s, g) for s, g in zip(symmetries, elements, strict=True))
    found = residual <= allowed and valid and (change is None or change <= allowed)
    undetermined = tuple(k for k, known in enumerate(search.known) if known < 1.0)
    return GroupElement(found, elements, residual, allowed, change, undetermined)


def _lies_in(symmetry: Symmetry, g: Tensor) -> bool:
    # A rotation that was fitted is one to half of the digits at least.
    return symmetry.group.contains(g, tolerance=1e-8 if isinstance(symmetry.group, Orthogonal) else None)


def _change(moved: Tensor, end: Tensor) -> float:
    return float((moved - end).norm() / end.norm().clamp_min(torch.finfo(end.dtype).tiny))


def _check_finite(where: str, tensors: dict[str, Tensor], names: list[str]) -> None:
    for n in names:
        if not bool(tensors[n].isfinite().all()):
            raise ValueError(
                f"{where}: parameters must be finite; got inf or nan in {n}; compare models that have not diverged."
            )
