"""Curves along data-dependent actions: the network keeps its outputs on one batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from isoloss.connect._factors import Component, factors
from isoloss.connect._frame_move import frame_moved
from isoloss.connect._path import SmoothPath, Tensors
from isoloss.dependent import DependentAction, Difference, Frame, One, Two
from isoloss.groups import GeneralLinear
from isoloss.teleport.curves import ForwardCurve, InverseCurve, LayerPair

FORMS: dict[type, Literal["difference", "papers"]] = {Difference: "difference", Two: "papers"}


@dataclass(frozen=True)
class DependentCurve(SmoothPath):
    r"""The curve :math:`\gamma(t) = \exp(t \log g) \cdot w` of a data-dependent action on pairs of layers.

    Where a batch is larger than a layer is wide, the loss may change along it (Prop. 3.4.1 bounds by how much). With
    the published action 2 (`Two`) the curve does not start at w if the batch is smaller: the identity moves weights.

    Pairs move one after another, each in the network that those before it have moved.

    Attributes:
        point: The parameters before any reflection, by name.
        pairs: The pairs of layers with the batch.
        algebra: For each pair its algebra elements, in the order in which their exponentials act.
        reflections: For each pair what acts before them; None for the identity.
        action: The rule.

    References:
        Dissertation, Eqs. (3.5) and (3.6), Proposition 3.4.1; docs/dependent.md.
    """

    point: Tensors = field(repr=False)
    pairs: tuple[LayerPair, ...]
    algebra: tuple[tuple[Tensor, ...], ...] = field(repr=False)
    reflections: tuple[Tensor | None, ...] = field(repr=False)
    action: DependentAction

    def _at(self, t: Tensor, point: Tensors) -> Tensors:
        moved: Tensors = {}
        for pair, algebra, reflection in zip(self.pairs, self.algebra, self.reflections, strict=True):
            if reflection is not None:
                moved |= _like(self._reflected(pair, reflection, point | moved), point)
            for a in algebra:
                moved |= _like(self._moved(pair, a, t, point | moved), point)
        return moved

    def _moved(self, pair: LayerPair, algebra: Tensor, t: Tensor, tensors: Tensors) -> Tensors:
        match self.action:
            case Frame():
                return frame_moved(pair, algebra, t, tensors)
            case One():
                return InverseCurve(pair, algebra).at(t, tensors)
            case _:
                return ForwardCurve(pair, algebra, FORMS[type(self.action)]).at(t, tensors)

    @staticmethod
    def _reflected(pair: LayerPair, reflection: Tensor, tensors: Tensors) -> Tensors:
        """A permutation of the units, which keeps the outputs on all data."""
        u, v, _ = pair.read(tensors)
        order = reflection.argmax(-1)
        taps = u.shape[1] // pair.width  # a unit may be read by several columns, the bias is nobody's
        read = u[:, : pair.width * taps].unflatten(1, (pair.width, taps))[:, order].flatten(1)
        return pair.write(torch.cat([read, u[:, pair.width * taps :]], 1), v[order])

    def _mapped(self, f, times: Tensor) -> Tensors:
        # Ranks are decided by values, which vmap cannot: one point after another.
        if times.dim() == 0:
            return f(times, self.point)
        points = [f(t, self.point) for t in times.flatten().unbind()]
        return {n: torch.stack([p[n] for p in points]).unflatten(0, times.shape) for n in points[0]}


def _like(moved: Tensors, point: Tensors) -> Tensors:
    """In the dtypes of the parameters: the model runs on them before the next pair moves."""
    return {n: x.to(point[n].dtype) for n, x in moved.items()}


def dependent(
    point: Tensors,
    pairs: Sequence[LayerPair],
    elements: Sequence[Tensor | None],
    action: DependentAction,
    component: Component,
    where: str,
) -> DependentCurve:
    """The curve of an action along one element per pair; None moves nothing."""
    if len(pairs) != len(elements):
        raise ValueError(
            f"{where}: one element per pair of layers; got {len(elements)} for {len(pairs)} pairs; "
            "put None where nothing should move."
        )
    if not isinstance(action, One | Frame) and type(action) not in FORMS:
        raise ValueError(
            f"{where}: the action must be Difference(), Frame(), Two() or One(); got {action!r}; "
            "the others have no curve in closed form."
        )
    if component == "flip":
        raise ValueError(
            f"{where}: an activation between the layers lets units be permuted, not flipped; got component='flip'; "
            "choose 'permute'."
        )
    kept, algebra, reflections = [], [], []
    for pair, g in zip(pairs, elements, strict=True):
        if g is None:
            continue
        if tuple(g.shape) != (pair.width, pair.width):
            raise ValueError(
                f"{where}: the element of a pair is a matrix of its width, {pair.width}; got {tuple(g.shape)} for "
                f"{pair.incoming} and {pair.outgoing}."
            )
        f = factors(GeneralLinear(pair.width), g.double(), component, where)
        kept.append(pair)
        algebra.append(f.algebra)
        reflections.append(f.reflection)
    return DependentCurve(dict(point), tuple(kept), tuple(algebra), tuple(reflections), action)
