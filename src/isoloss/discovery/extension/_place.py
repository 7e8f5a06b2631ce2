"""Where the parameters of a small network lie in those of a large one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.symmetry import Block, Shift, Slot, named_tensors


@dataclass(frozen=True)
class Place:
    """A tensor of the small network as a block of one of the large network.

    Attributes:
        parameter: Name of the large network's parameter or buffer.
        block: Where in it; its view has the shape of the small network's tensor.
    """

    parameter: str
    block: Block


Places = Mapping[str, Place]


def submodule(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path; "" is the model itself.

    Raises:
        ValueError: If there is none.
    """
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        known = [name for name, _ in model.named_modules() if name]
        raise ValueError(
            f"extend: at must be the path of a submodule; got {path!r}; choose one of {', '.join(known[:8])}"
            f"{', ...' if len(known) > 8 else ''}."
        ) from error


def places_below(model: nn.Module, path: str) -> dict[str, Place]:
    """Of the tensors of a submodule, by their names in it; tied ones by the first name that the model has for them."""
    part = submodule(model, path)
    first = {id(t): name for name, t in named_tensors(model).items()}
    return {
        name: Place(first[id(t)], Block.whole(tuple(t.shape)))
        for name, t in [*part.named_parameters(), *part.named_buffers()]
    }


def places_given(model: nn.Module, at: Mapping[str, Any]) -> dict[str, Place]:
    """Of the tensors that a mapping names: a name, or a tuple of a name and an index of slices, or a `Block`.

    Raises:
        TypeError: If a value is none of these.
        ValueError: If the model has no such parameter, the index is not made of integers and ranges, or two places
            overlap.
    """
    known = named_tensors(model)
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    first = {id(t): name for name, t in known.items()}
    alias = {name: first[id(t)] for name, t in every}
    places = {}
    for small, value in at.items():
        name, *index = value if isinstance(value, tuple) else (value,)
        if not isinstance(name, str):
            raise TypeError(
                "extend: at must map names to names, or to tuples of a name and an index; "
                f"got {value!r} for {small}; write ('0.weight', slice(0, 4)), say."
            )
        if name not in alias:
            raise ValueError(
                f"extend: at must name parameters of the model; got {name} for {small}; "
                f"choose among {', '.join(list(alias)[:8])}{', ...' if len(alias) > 8 else ''}."
            )
        places[small] = Place(alias[name], _block(name, tuple(known[alias[name]].shape), index))
    _refuse_overlap(places, known)
    return places


def placed(symmetry: Any, places: Places) -> tuple[Slot | Shift, ...]:
    """The slots of a symmetry of the small network, as slots of the large one."""
    return tuple(_placed(slot, places) for slot in symmetry.slots)


def _placed(slot: Slot | Shift, places: Places) -> Slot | Shift:
    def moved(part: Any) -> Any:
        place = places[part.parameter]
        return replace(part, parameter=place.parameter, block=part.block.inside(place.block))

    if isinstance(slot, Shift):
        return replace(moved(slot), operands=tuple(moved(o) for o in slot.operands))
    return replace(moved(slot), frames=tuple(moved(f) for f in slot.frames))


def _block(name: str, shape: tuple[int, ...], index: list[Any]) -> Block:
    if len(index) == 1 and isinstance(index[0], Block):
        if not index[0].lies_in(shape):
            raise ValueError(
                f"extend: a block must lie in its parameter; got {index[0]} for {name} of shape {shape}; "
                "check its starts and factors."
            )
        return index[0]
    if len(index) == 1 and isinstance(index[0], tuple):
        index = list(index[0])
    if Ellipsis in [i for i in index if i is Ellipsis]:
        at = next(k for k, i in enumerate(index) if i is Ellipsis)
        index[at : at + 1] = [slice(None)] * (len(shape) - len(index) + 1)
    index += [slice(None)] * (len(shape) - len(index))
    if len(index) > len(shape):
        raise ValueError(
            f"extend: an index must have at most one entry for each axis; got {len(index)} for {name} of "
            f"shape {shape}; leave the others out."
        )
    axes = [_axis(name, n, i) for n, i in zip(shape, index, strict=True)]
    return Block(tuple(start for start, _ in axes), tuple(factors for _, factors in axes))


def _axis(name: str, n: int, index: Any) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Start and factors of the part of an axis of n entries."""
    if isinstance(index, int) and not isinstance(index, bool) and -n <= index < n:
        return index % n, ()
    part = range(n)[index] if isinstance(index, slice) else index
    if isinstance(part, range) and part and part.step > 0 and 0 <= part[0] and part[-1] < n:
        return part[0], ((len(part), part.step if len(part) > 1 else 1),)
    raise ValueError(
        f"extend: an index must be made of integers, slices and ranges within the axis, steps above zero; got "
        f"{index!r} for an axis of {n} of {name}; units must lie at regular distances."
    )


def _refuse_overlap(places: Places, known: Mapping[str, Tensor]) -> None:
    taken: dict[str, list[str]] = {}
    for small, place in places.items():
        taken.setdefault(place.parameter, []).append(small)
    for name, some in taken.items():
        if len(some) < 2:
            continue
        used = torch.zeros(known[name].shape, dtype=torch.int64)
        for small in some:
            view = places[small].block.view(used)
            view.add_(1)
        if bool((used > 1).any()):
            raise ValueError(
                f"extend: the places of different parameters must not overlap; got {' and '.join(some)}, which share "
                f"entries of {name}; a weight that is used twice belongs to no subnetwork alone."
            )


def check_fits(symmetry: Any, names: Iterable[str], places: Places) -> None:
    """Refuse a symmetry that moves, or reads, what the large network does not have.

    Raises:
        ValueError: If a name has no place, or a block does not lie in it.
    """
    missing = [name for name in names if name not in places]
    if missing:
        raise ValueError(
            f"extend: every parameter that moves or is read must have its place in the model; got none for "
            f"{', '.join(missing)}; the submodule has {', '.join(list(places)[:8]) or 'no parameters'}."
        )
    for slot in symmetry.slots:
        for part in (slot, *(slot.operands if isinstance(slot, Shift) else slot.frames)):
            shape = places[part.parameter].block.shape
            if not part.block.lies_in(shape):
                raise ValueError(
                    f"extend: blocks must lie in the parameters of the subnetwork; got one of shape {part.block.shape} "
                    f"from {part.block.start} for {part.parameter}, which has shape {shape} in the model; "
                    "extend to a place of the shape that the small network has."
                )
