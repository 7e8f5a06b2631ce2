"""Data-dependent actions on a model: all pairs at once, in place, measured, and undone if the loss moves too far."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from isoloss._checks import is_size
from isoloss.dependent._activation import Activation, activation_of
from isoloss.dependent._layer import Layer
from isoloss.dependent._pair import Pair, pairs
from isoloss.dependent._passes import Closure, loss_of, undisturbed
from isoloss.dependent.actions import DependentAction, Difference
from isoloss.symmetry import Symmetries, write_atomically


@dataclass(frozen=True)
class Moved:
    """What a data-dependent action did to the loss.

    Attributes:
        loss_before: Loss of the batch that the action depends on.
        loss_after: The same after the move, also where the move was then undone.
        held_out_before: Loss of other data, if they were given.
        held_out_after: The same after the move.
        undone: Why the model is where it was; None if it has moved.
        gradient_norm_before: Norm of the gradient, if it was an ascent.
        gradient_norm_after: The same where it has led, as predicted.
        size: Largest Frobenius norm of g - 1, if it was an ascent.
    """

    loss_before: float
    loss_after: float
    held_out_before: float | None = None
    held_out_after: float | None = None
    undone: str | None = None
    gradient_norm_before: float | None = None
    gradient_norm_after: float | None = None
    size: float | None = None

    @property
    def loss_change(self) -> float:
        """Change of the loss of the batch, in units of the loss."""
        return self.loss_after - self.loss_before

    @property
    def held_out_change(self) -> float | None:
        """Change of the loss of the held-out data, in units of the loss."""
        if self.held_out_after is None or self.held_out_before is None:
            return None
        return self.held_out_after - self.held_out_before

    def as_dict(self) -> dict[str, float]:
        """The numbers that are known, for a logger."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "undone"}
        return {name: value for name, value in numbers.items() if value is not None}


def act(
    action: DependentAction,
    g: Tensor,
    incoming: Tensor,
    outgoing: Tensor,
    inputs: Tensor,
    activation: Activation,
) -> tuple[Tensor, Tensor]:
    r"""Move the two matrices of :math:`U \sigma(V X)` by an element of GL(h).

    Args:
        action: The rule.
        g: Element, shape (h, h).
        incoming: V, shape (h, n).
        outgoing: U, shape (o, h).
        inputs: X, shape (n, k).
        activation: The function between.

    Returns:
        V' and U', as new tensors.

    Raises:
        ValueError: If g does not fit the hidden width, or the action is not defined there.
    """
    h = incoming.shape[0]
    if tuple(g.shape) != (h, h) or outgoing.shape[1] != h:
        raise ValueError(
            f"act: g must be (h, h), with h rows of incoming and columns of outgoing; got g {tuple(g.shape)}, "
            f"incoming {tuple(incoming.shape)}, outgoing {tuple(outgoing.shape)}; leave biases out."
        )
    z = incoming @ inputs
    moved = action.incoming(g, incoming, z, inputs, activation)
    return moved, action.outgoing(g, outgoing, activation.value(z), activation.value(moved @ inputs))


def act_(
    symmetries: Symmetries,
    elements: Sequence[Tensor | None],
    loss: Closure,
    *,
    action: DependentAction | None = None,
    held_out: Closure | None = None,
    max_loss_change: float | None = None,
) -> Moved:
    """Move a model by one element of GL(h) for every pair of adjacent layers, in place, all or nothing.

    The batch runs through the model twice. In the second run every layer, just before it is used, is fitted to the
    inputs that it has in the moved network: so pairs that share a layer see one another, and what lies between two
    layers may be anything without parameters.

    `Symmetries.act_` moves frozen parameters, too, for it keeps the function on every input. This action changes it off
    the batch, so it never does: leave such pairs out by None.

    Args:
        symmetries: Those of the model, from `isoloss.find`.
        elements: One matrix for each of `pairs(symmetries)`; None moves nothing.
        loss: Runs the model, once, on the batch that the action depends on, and returns the loss.
        action: The rule; `Difference()` if None.
        held_out: The same on other data, to be reported.
        max_loss_change: Largest relative change of the loss of the batch, abs(after - before) / abs(before). Beyond
            it everything is put back.

    Returns:
        The losses, measured.

    Raises:
        ValueError: If there is not one element per pair, or a shape does not fit, or a parameter that would move is
            frozen, or a moved weight would not be finite, or the loss uses a layer several times; nothing has changed
            then.
    """
    where = "dependent.act_"
    check_limit(where, max_loss_change)
    model, found = symmetries.model, pairs(symmetries)
    _check(where, found, elements)
    move = Carrier(model, found, elements, Difference() if action is None else action)
    with undisturbed(model) as run:
        before = loss_of(lambda c: run(lambda: move.recorded(c)), loss, where)
        aside = None if held_out is None else loss_of(run, held_out, where)
        home = {layer: layer.matrix.clone() for layer in move.layers}
        try:
            after = loss_of(lambda c: run(lambda: move.moved(c)), loss, where)
            later = None if held_out is None else loss_of(run, held_out, where)
            new = {layer: layer.matrix.clone() for layer in move.layers}
            undone = objection(before, after, max_loss_change)
        finally:
            for layer, matrix in home.items():
                layer.write_(matrix)
        if undone is None:
            write_atomically(writes(new), where=where)
    return Moved(before, after, aside, later, undone)


class Carrier:
    """Two runs of a model: one that records what its layers see, one that moves the layers while it runs.

    Args:
        model: The model.
        found: Its pairs.
        elements: One per pair.
        action: The rule.
    """

    def __init__(
        self,
        model: nn.Module,
        found: Sequence[Pair],
        elements: Sequence[Tensor | None],
        action: DependentAction,
    ):
        self._model, self._action = model, action
        moving = [(p, g) for p, g in zip(found, elements, strict=True) if g is not None]
        self._made = {p.producer.module: (p, g) for p, g in moving}
        self._read = {p.reader.module: (p, g) for p, g in moving}
        self.layers: list[Layer] = list(
            {layer.module: layer for p, _ in moving for layer in (p.producer, p.reader)}.values()
        )
        self._seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._activations: dict[nn.Module, Activation | None] = {}

    def recorded(self, closure: Closure) -> Tensor:
        """Run, and keep the inputs and outputs of the layers."""

        def keep(layer: Layer):
            def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
                if module in self._seen:
                    raise ValueError(
                        f"dependent.act_: a layer must be used once per run; got {layer.name} twice; "
                        "run the model once in the loss."
                    )
                # Copied: an activation may write over the outputs.
                self._seen[module] = inputs[0].detach(), output.detach().clone()

            return hook

        handles = [layer.module.register_forward_hook(keep(layer)) for layer in self.layers]
        handles += self._watch()
        try:
            loss = closure()
        finally:
            for handle in handles:
                handle.remove()
        if idle := [layer.name for layer in self.layers if layer.module not in self._seen]:
            raise ValueError(
                f"dependent.act_: the loss must run every layer that moves; it did not run {idle[0]}."
            )
        return loss

    def moved(self, closure: Closure) -> Tensor:
        """Run, and move every layer when its inputs are known."""

        def fit(layer: Layer):
            def hook(module: nn.Module, inputs: tuple) -> None:
                layer.write_(self._matrix(layer, inputs[0].detach()))

            return hook

        handles = [layer.module.register_forward_pre_hook(fit(layer)) for layer in self.layers]
        try:
            return closure()
        finally:
            for handle in handles:
                handle.remove()

    def _matrix(self, layer: Layer, x: Tensor) -> Tensor:
        before, output = self._seen[layer.module]
        matrix = layer.matrix
        if layer.module in self._read:
            _, g = self._read[layer.module]
            s, moved = layer.columns(before), layer.columns(x)
            if self._action.absorbs_bias or layer.bias is None:
                matrix = self._action.outgoing(g, matrix, s, moved)
            else:
                read = self._action.outgoing(g, matrix[:, :-1], s[:-1], moved[:-1])
                matrix = torch.cat([read, matrix[:, -1:]], 1)
        if layer.module in self._made:
            pair, g = self._made[layer.module]
            activation = self._activations.get(layer.module)
            matrix = self._action.incoming(g, matrix, layer.rows(output), layer.columns(x), activation)
        return matrix

    def _watch(self) -> list:
        """Note the activation module that takes the outputs of each producer."""
        outputs: dict[int, nn.Module] = {}

        def produced(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            outputs[id(output)] = module

        def taken(module: nn.Module, inputs: tuple) -> None:
            maker = outputs.get(id(inputs[0])) if inputs else None
            if maker is not None and maker is not module:
                # The first: an extended activation calls the one inside it with the same inputs.
                self._activations.setdefault(maker, activation_of(module))

        leaves = [m for m in self._model.modules() if activation_of(m) is not None]
        handles = [m.register_forward_hook(produced) for m in self._made]
        return handles + [m.register_forward_pre_hook(taken) for m in leaves]


def _check(where: str, found: Sequence[Pair], elements: Sequence[Tensor | None]) -> None:
    if len(found) != len(elements):
        raise ValueError(
            f"{where}: one element per pair; got {len(elements)} for {len(found)} pairs; "
            "see dependent.pairs(symmetries), and put None where nothing should move."
        )
    for pair, g in zip(found, elements, strict=True):
        if g is not None and tuple(g.shape) != (pair.width, pair.width):
            raise ValueError(
                f"{where}: the element of a pair is a matrix of its width, {pair.width}; got {tuple(g.shape)} for "
                f"{pair.producer.name} and {pair.reader.name}."
            )
        if g is not None and (frozen := pair.frozen):
            raise ValueError(
                f"{where}: a pair moves if none of its parameters is frozen, for off the batch the function changes; "
                f"got an element for {pair.producer.name} and {pair.reader.name} with {frozen[0]} frozen; put None "
                "there, or require its gradient."
            )


def check_limit(where: str, limit: Any) -> None:
    """Refuse what bounds nothing.

    Raises:
        ValueError: If it is no number, or negative.
    """
    if limit is not None and not is_size(limit):
        raise ValueError(
            f"{where}: max_loss_change must be a number that is not negative, or None for no bound; got {limit!r}; "
            "0.01 allows one per cent."
        )


def objection(before: float, after: float, limit: float | None) -> str | None:
    """Why a move has to be undone, None if it has not."""
    if not isfinite(after):
        return f"the loss became {after}"
    if limit is not None and not abs(after - before) <= limit * abs(before):
        return (
            f"the loss went from {before:.6g} to {after:.6g}, by more than max_loss_change = {limit:g} of it"
        )
    return None


def writes(new: Mapping[Layer, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, parameter and new value of everything that matrices stand for."""
    for layer, matrix in new.items():
        parameters = {"weight": layer.weight, "bias": layer.bias}
        for name, value in layer.tensors(matrix).items():
            target = parameters[name.rpartition(".")[2]]
            assert target is not None
            yield name, target, value
