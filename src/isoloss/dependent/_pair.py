"""The pairs of adjacent layers that share hidden units, read off the symmetries of a model."""

from collections.abc import Iterable
from dataclasses import dataclass

from isoloss.dependent._layer import Layer
from isoloss.groups import GeneralLinear, Permutation
from isoloss.symmetry import Slot, Symmetries, Symmetry


@dataclass(frozen=True)
class Pair:
    """Two layers with a hidden layer between: one computes its units, the other alone reads them.

    Attributes:
        symmetry: The symmetry of the hidden units that gave the pair away.
        producer: The layer whose outputs are the units.
        reader: The layer that reads them.
    """

    symmetry: Symmetry
    producer: Layer
    reader: Layer

    @property
    def width(self) -> int:
        """Number of hidden units: channels, for convolutions."""
        return self.producer.weight.shape[0]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that an action on this pair moves."""
        return (*self.producer.tensors(self.producer.matrix), *self.reader.tensors(self.reader.matrix))

    @property
    def frozen(self) -> tuple[str, ...]:
        """Those of them that do not require gradients."""
        stored = {}
        for layer in (self.producer, self.reader):
            kept = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
            stored |= zip(layer.tensors(layer.matrix), kept, strict=True)
        return tuple(name for name, tensor in stored.items() if not tensor.requires_grad)


def pairs(symmetries: Symmetries) -> list[Pair]:
    """The pairs of a model, in the order of its modules.

    The hidden units of a pair can be permuted by the rows of one layer and the columns of another, and by nothing
    else: so every permutation (or GL, where no activation intervenes) that moves two layers only is a pair.

    Args:
        symmetries: What `isoloss.find` returned.

    Raises:
        ValueError: If there is no pair.
    """
    modules = dict(symmetries.model.named_modules())
    order = {name: i for i, name in enumerate(modules)}
    found = [p for s in symmetries if (p := pair_of(s, modules)) is not None]
    if not found:
        kinds = ", ".join(dict.fromkeys(type(s.group).__name__ for s in symmetries)) or "nothing"
        raise ValueError(
            "pairs: a data-dependent action needs two adjacent linear or convolutional layers whose hidden units "
            f"nothing else uses; got symmetries of {kinds}, none of such a pair; "
            "hidden layers with a norm or a residual connection are not among them, nor are grouped and transposed "
            "convolutions, or layers of one unit."
        )
    return sorted(found, key=lambda p: order[p.producer.name])


def pair_of(symmetry: Symmetry, modules) -> Pair | None:
    """The pair that a symmetry moves, None if it does not move a pair as a whole."""
    if not isinstance(symmetry.group, Permutation | GeneralLinear) or symmetry.batch:
        return None
    produced, read = set(), set()
    for slot in symmetry.slots:
        axis = _axis(slot) if isinstance(slot, Slot) else None
        if axis is None:
            return None
        owner, _, kind = slot.parameter.rpartition(".")
        (produced if axis == 0 else read).add((owner, kind))
    owners, readers = {o for o, _ in produced}, {o for o, _ in read}
    if len(owners) != 1 or len(readers) != 1 or owners == readers:
        return None
    (owner,), (reader,) = owners, readers
    if not (Layer.suits(modules.get(owner)) and Layer.suits(modules.get(reader))):
        return None
    first, second = Layer(owner, modules[owner]), Layer(reader, modules[reader])
    n = symmetry.group.n
    if first.weight.shape[0] != n or second.weight.shape[1] % n:
        return None
    whole = {(owner, "weight")} | ({(owner, "bias")} if first.bias is not None else set())
    return Pair(symmetry, first, second) if produced == whole and read == {(reader, "weight")} else None


def only(found: Iterable[Pair], symmetries: Iterable[Symmetry]) -> list[Pair]:
    """Those of the pairs whose symmetry is among those given."""
    kept = list(symmetries)
    return [p for p in found if any(p.symmetry is s for s in kept)]


def _axis(slot: Slot) -> int | None:
    """The axis of the parameter whose outermost factor the group acts on, and all of; None if it is not all."""
    if len(slot.dims) != 1 or any(slot.block.start):
        return None
    ends = 0
    for axis, factors in enumerate(slot.block.factors):
        if slot.dims[0] == ends:
            return axis
        if slot.dims[0] < ends + len(factors):
            return None
        ends += len(factors)
    return None
