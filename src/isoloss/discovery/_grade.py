"""How good a learned symmetry is, measured on samples that training did not see."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vmap

from isoloss.discovery._local import TINY, Local

INVARIANT = 0.1
"""Largest slope of the loss along a learned direction, as a part of that along random ones."""
NORM_FLOOR = 0.1
"""Least median length of a direction, as a part of beta; below it the action is trivial."""
IDENTITY_BOUND = 0.05
"""How far the identity may move parameters, as a part of their length."""
INDEPENDENT = 0.1
"""Least singular value of the unit directions that counts as another direction; k orthogonal ones have all 1."""


@dataclass(frozen=True)
class Grade:
    r"""What was measured. All are pure numbers.

    Attributes:
        invariance: For each generator, the root mean square slope of the loss along its directions over that along
            random ones of the same lengths; 0 is invariant, 1 is random.
        norms: For each generator, the median length of its directions.
        beta: The length that was asked for.
        identity: Median of :math:`\|a_X(I, \theta) - \theta\| / \|\theta\|`.
        associativity: Mean defect of Theorem 6.3.2 over the length of the directions.
        independent: Number of independent directions at the median sample: singular values of the unit directions
            above `INDEPENDENT`.
        bracket: Length of the part of the brackets :math:`[v_i, v_j]` that is no combination of directions, over that
            of :math:`Dv_j v_i`, both averaged over pairs, the median over samples. 0 where directions span a Lie
            algebra, as those of any group action do. 0 for one generator.
        data_dependence: Change of the directions when the data are replaced by others,
            :math:`\|v_X - v_{X'}\| / \sqrt{\|v_X\|^2 + \|v_{X'}\|^2}`: 0 for a data-independent symmetry, 1 if the two
            have nothing in common. nan, as `foreign`, if all samples have the same data: there are no others.
        data_derivative: Length of the derivative of the directions along a random unit change of the data, over theirs:
            section 6.5.4 asks whether it is zero.
        foreign: The invariance of the directions of one batch of data on another: as small as `invariance` if the data
            are not needed.
        typical: For each generator, the slope at the median sample over that of a random unit vector. `invariance`
            weighs samples by the lengths of the directions; with it alone, long invariant directions at a few samples
            would make up for arbitrary ones at the others.
    """

    invariance: tuple[float, ...]
    norms: tuple[float, ...]
    beta: float
    identity: float
    associativity: float
    independent: int
    bracket: float
    data_dependence: float
    data_derivative: float
    foreign: tuple[float, ...]
    typical: tuple[float, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why this is no symmetry; empty if it is one."""
        told = []
        count = len(self.norms)
        if low := [i for i, n in enumerate(self.norms) if not n >= NORM_FLOOR * self.beta]:
            told.append(
                f"the action is trivial: the directions of {_these(low, count)} have a median length of "
                f"{min(self.norms):.2g}, below {NORM_FLOOR * self.beta:.2g}"
            )
        if not self.identity <= IDENTITY_BOUND:
            told.append(
                f"the identity moves the parameters by {self.identity:.2g} of their length, above {IDENTITY_BOUND}"
            )
        if high := [i for i, e in enumerate(self.invariance) if not e <= INVARIANT]:
            told.append(
                f"the loss is not invariant: along the directions of {_these(high, count)} it changes up to "
                f"{max(self.invariance):.2g} times as fast as along random ones, above {INVARIANT}"
            )
        elif high := [i for i, e in enumerate(self.typical) if not e <= INVARIANT]:
            told.append(
                f"the loss is invariant at few samples only: at half of them it changes along the directions of "
                f"{_these(high, count)} {max(self.typical):.2g} times as fast as along random ones, above {INVARIANT}"
            )
        if self.independent < count:
            told.append(
                f"the generators are not independent: they move the parameters in {self.independent} ways, not {count}"
            )
        return tuple(told)

    @property
    def data_dependent(self) -> bool:
        """Whether the directions depend on the data: by more than 1 in 100."""
        return self.data_dependence > 0.01


@torch.no_grad()
def graded(here: Local, beta: float) -> Grade:
    """The grade of an action at samples; best in float64."""
    directions, lengths = here.directions, here.squared.clamp_min(TINY).sqrt()
    other = here.x.roll(1, 0)
    differs = (other != here.x).any(1)
    moved = here.action.directions(here.h, here.theta, other)
    apart = (directions - moved).square().sum(-1) / (here.squared + moved.square().sum(-1)).clamp_min(TINY)
    foreign = _Foreign(here, moved).invariance
    probe = torch.randn(here.x.shape, generator=here.generator, dtype=here.x.dtype).to(here.x)
    probe = probe / probe.norm(dim=1, keepdim=True).clamp_min(TINY**0.5)
    slope = jvp(lambda x: here.action.directions(here.h, here.theta, x), (here.x,), (probe,))[1]
    values = torch.linalg.svdvals(here.units)
    identity = here.identity_error / here.theta.norm(dim=1).clamp_min(TINY**0.5)
    return Grade(
        invariance=_numbers(here.invariance),
        norms=_numbers(here.squared.sqrt().median(0).values),
        beta=beta,
        identity=float(identity.median()),
        associativity=float((here.associativity_error / lengths).mean()),
        independent=int((values > INDEPENDENT).sum(1).median()),
        bracket=_bracket(here),
        data_dependence=float(apart[differs].mean().sqrt()),
        data_derivative=float((slope.norm(dim=-1) / lengths).median()),
        foreign=_numbers(foreign if bool(differs.any()) else torch.full_like(foreign, torch.nan)),
        typical=_numbers(here.typical),
    )


class _Foreign(Local):
    """The same losses along other directions."""

    def __init__(self, here: Local, directions: Tensor):
        super().__init__(here.losses, here.action, here.h, here.theta, here.x, here.generator)
        self.__dict__["directions"] = directions
        self.__dict__["scale"] = here.scale


def _bracket(here: Local) -> float:
    v = here.directions
    k = v.shape[1]
    if k == 1:
        return 0.0

    def along(u: Tensor) -> Tensor:
        return jvp(lambda t: here.action.directions(here.h, t, here.x), (here.theta,), (u,))[1]

    derivative = vmap(along, in_dims=1)(v).movedim(0, 1)  # [n, i, j] is D v_j v_i
    i, j = torch.triu_indices(k, k, 1)
    bracket = derivative[:, i, j] - derivative[:, j, i]
    u, s, _ = torch.linalg.svd(here.units.mT, full_matrices=False)
    u = u * (s > INDEPENDENT)[:, None]
    outside = bracket - (bracket @ u) @ u.mT
    # Where rescalings of different neurons do not touch, both are rounding: pairs are not divided one by one.
    size = derivative.norm(dim=-1).mean((1, 2)).clamp_min(TINY**0.5)
    return float((outside.norm(dim=-1).mean(1) / size).median())


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _these(which: list[int], count: int) -> str:
    if len(which) == count:
        return "all generators" if count > 1 else "the generator"
    return f"generator{'s' if len(which) > 1 else ''} {', '.join(map(str, which))}"
