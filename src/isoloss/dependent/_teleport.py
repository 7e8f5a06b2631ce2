"""A data-dependent teleport: search an element, move, measure, and undo what moves the loss too far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, sqrt
from typing import get_args

import torch
from torch import Tensor

from isoloss._checks import is_size, is_whole
from isoloss.dependent._chain import Chain
from isoloss.dependent._evaluated import Measure
from isoloss.dependent._layer import Layer
from isoloss.dependent._move import Moved, check_limit, objection, writes
from isoloss.dependent._pair import Pair, pairs
from isoloss.dependent._passes import Closure, loss_of, undisturbed
from isoloss.dependent._search import Keep, Search
from isoloss.symmetry import Symmetries, write_atomically

WHERE = "dependent.teleport_"
NOWHERE = "no element that was tried improves the objective and keeps the loss of the batch to rounding"


@dataclass(frozen=True)
class Destination:
    """Where a search has led; nothing has been written yet.

    Attributes:
        changes: For every pair g - 1, as a product of two matrices; of the second, None is the identity.
        matrices: The moved matrices of all layers that move.
        loss: The loss here.
        before: Squared gradient norm here, or the measure that was asked for.
        after: The same there, as predicted.
        size: Largest Frobenius norm of g - 1.
    """

    changes: list[tuple[Tensor, Tensor | None]]
    matrices: dict[Layer, Tensor]
    loss: float
    before: float
    after: float
    size: float

    @property
    def elements(self) -> list[Tensor]:
        """g of every pair."""
        ones = [torch.eye(len(a)).to(a) for a, _ in self.changes]
        return [one + (a if b is None else a @ b) for one, (a, b) in zip(ones, self.changes, strict=True)]


def search(
    symmetries: Symmetries,
    loss: Closure,
    *,
    found: Sequence[Pair] | None = None,
    steps: int = 10,
    radius: float = 0.1,
    lower: bool = False,
    weights: Mapping[str, float] | None = None,
    keep: Keep = "outputs",
    measure: Measure | None = None,
) -> Destination:
    """Find where the gradient, or a measure, is larger and a batch is computed as before, without moving.

    Args:
        symmetries: Those of the model.
        loss: Runs the model once on a batch and returns the loss.
        found: The pairs that may move; if None all of which no parameter is frozen.
        steps: Steps of the ascent, each of one Hessian-vector product.
        radius: All singular values of every g stay in [exp(-radius), exp(radius)], and no matrix of weights W, bias
            included, moves by more than (exp(n radius) - 1) |W| in the Frobenius norm, n the number of its pairs.
        lower: Go where it is smaller.
        weights: Factors of the squared norms of the gradients, by the names of the weights; see `Search`.
        keep: See `teleport_`.
        measure: What to raise in the place of the gradient norm; a step then costs one gradient of it.

    Raises:
        ValueError: If the model is no chain of layers, or has no pair, or an argument is out of range.
    """
    if not is_whole(steps, least=1) or not is_size(radius) or radius == inf:
        raise ValueError(
            f"{WHERE}: steps must be a whole number of at least 1 and radius a finite number that is not negative; "
            f"got steps {steps!r}, radius {radius!r}."
        )
    if not isinstance(lower, bool):
        raise ValueError(f"{WHERE}: lower must be True or False; got {lower!r}.")
    if keep not in get_args(Keep):
        raise ValueError(f"{WHERE}: keep must be one of {', '.join(get_args(Keep))}; got {keep!r}.")
    model = symmetries.model
    chosen = _trained(symmetries) if found is None else list(found)
    with undisturbed(model) as run:
        chain = Chain.of(model, loss, run)
        ascent = Search(chain, chosen, lower, weights, keep, measure)
        there = ascent.ascend(1.0 - exp(-radius), steps)
    matrices = {chain.stages[i].layer: m for i, m in there.matrices.items()}
    size = max(float(torch.linalg.vector_norm(t)) for t in there.thetas)
    changes, factor = ascent.changes(there.thetas), 2 if measure is None else 1
    return Destination(changes, matrices, chain.loss, factor * there.before, factor * there.value, size)


def teleport_(
    symmetries: Symmetries,
    loss: Closure,
    *,
    steps: int = 10,
    radius: float = 0.1,
    lower: bool = False,
    keep: Keep = "outputs",
    held_out: Closure | None = None,
    max_loss_change: float | None = None,
) -> Moved:
    r"""Move a model to where its gradient is larger and a batch is computed as before, in place, all or nothing.

    .. math:: w \leftarrow g \cdot w, \qquad g \approx \operatorname{argmax}_{\log g \in B_r} |\nabla L(g \cdot w)|^2

    The linear and convolutional layers must run one after another. What lies between them is differentiated in closed
    form where modules follow one another, else by runs of the model, which costs more.

    Gradients and optimizer state stay as they are and belong to the old weights: run backward again.

    Args:
        symmetries: Those of the model, from `isoloss.find`.
        loss: Runs the model once on a batch and returns the loss.
        steps: Steps of the ascent, each of one Hessian-vector product.
        radius: All singular values of every g stay in [exp(-radius), exp(radius)], and no matrix of weights W, bias
            included, moves by more than (exp(n radius) - 1) |W| in the Frobenius norm, n the number of its pairs.
        lower: Go where the gradient is smaller.
        keep: Of the batch. With "outputs" all layers are fitted exactly if none has more samples, or fewer that are
            independent, than weights, however small the elements have to be then; with "loss" fits are damped where
            they would move a matrix too far, so that elements can be larger. Else only the loss can be kept.
        held_out: Returns the loss on other data, to be reported.
        max_loss_change: Largest relative change of the loss of the batch, abs(after - before) / abs(before). Beyond
            it everything is put back.

    Returns:
        What it did to the loss, measured, and to the gradient, as predicted.

    Raises:
        ValueError: If the model is no chain of layers, or has no pair, or an argument is out of range, or a moved
            weight would not be finite; nothing has changed then.
    """
    check_limit(WHERE, max_loss_change)
    with undisturbed(symmetries.model) as run:
        aside = None if held_out is None else loss_of(run, held_out, WHERE)
        there = search(symmetries, loss, steps=steps, radius=radius, lower=lower, keep=keep)
        home = {layer: layer.matrix.clone() for layer in there.matrices}
        write_atomically(writes(there.matrices), where=WHERE)
        undone: str | None = "it was interrupted"
        try:
            after = loss_of(run, loss, WHERE)
            later = None if held_out is None else loss_of(run, held_out, WHERE)
            undone = objection(there.loss, after, max_loss_change) or (
                NOWHERE if there.size == 0.0 < radius else None
            )
        finally:
            if undone is not None:
                for layer, matrix in home.items():
                    layer.write_(matrix)
    norms = sqrt(max(there.before, 0.0)), sqrt(max(there.after, 0.0))
    return Moved(there.loss, after, aside, later, undone, *norms, there.size)


def _trained(symmetries: Symmetries) -> list[Pair]:
    every = pairs(symmetries)
    found = [p for p in every if not p.frozen]
    if not found:
        raise ValueError(
            f"{WHERE}: a pair moves if none of its parameters is frozen; got {len(every)} pairs, each with a frozen "
            "one; require their gradients."
        )
    return found
