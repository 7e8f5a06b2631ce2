"""All the symmetries of one model: a list that can move the model, and that prints as a table."""

import json
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import overload

import torch
from torch import Tensor, nn

from isoloss.groups import Group
from isoloss.symmetry._atomic import write_atomically
from isoloss.symmetry._symmetry import Symmetry, Tensors
from isoloss.symmetry._table import as_html, as_text

Elements = Sequence[Tensor | None]


class Symmetries(Sequence[Symmetry]):
    """The symmetries that were found in a model, in the order in which they act.

    Each is a symmetry at every point, so any sequence of elements, one per symmetry, is one too. They do not all
    commute: `act` applies the first symmetry first.

    Args:
        symmetries: What was found.
        model: The model they belong to; held weakly, needed by the methods that end in an underscore.
        notes: What the finder left out, and why; printed below the table.
    """

    def __init__(self, symmetries: Iterable[Symmetry], model: nn.Module | None = None, notes: Iterable[str] = ()):
        self._items = tuple(symmetries)
        self._model = weakref.ref(model) if model is not None else None
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: int) -> Symmetry: ...
    @overload
    def __getitem__(self, index: slice) -> "Symmetries": ...
    def __getitem__(self, index):
        return self._with(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    @property
    def dim(self) -> int:
        """Sum of the continuous dimensions of the groups; the orbit has at most this dimension."""
        return sum(s.dim for s in self)

    @property
    def model(self) -> nn.Module:
        """The model that the symmetries belong to.

        Raises:
            ReferenceError: If it no longer exists.
        """
        model = self._model() if self._model is not None else None
        if model is None:
            raise ReferenceError(
                "Symmetries: a move in place needs the model they were found in; got none, or one that was deleted; "
                "keep a reference to it, or call bind(model)."
            )
        return model

    def bind(self, model: nn.Module) -> "Symmetries":
        """The same symmetries for another model of the same architecture."""
        return Symmetries(self, model, self.notes)

    def only(self, *groups: type[Group]) -> "Symmetries":
        """Those whose group is of one of these types."""
        return self.where(lambda s: isinstance(s.group, groups))

    def within(self, names: Iterable[str]) -> "Symmetries":
        """Those that move nothing outside the parameters named."""
        allowed = set(names)
        return self.where(lambda s: allowed.issuperset(s.parameters))

    def where(self, keep: Callable[[Symmetry], bool]) -> "Symmetries":
        """Those for which keep is true."""
        return self._with(s for s in self if keep(s))

    def identity(self) -> list[Tensor]:
        """One identity element per symmetry."""
        return [s.identity() for s in self]

    def sample(self, scale: float = 0.5, generator: torch.Generator | None = None) -> list[Tensor]:
        """One random element per symmetry; scale is the size of the algebra elements."""
        return [s.sample(scale, generator) for s in self]

    def act(self, elements: Elements, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors that the elements move, as new tensors, by name.

        Args:
            elements: One per symmetry; None moves nothing.
            tensors: Named parameters and buffers of the model.

        Raises:
            ValueError: If there is not one element per symmetry.
        """
        moved: dict[str, Tensor] = {}
        current = dict(tensors)
        for symmetry, g in self._paired(elements):
            step = symmetry.act(g, current)
            moved.update(step)
            current.update(step)
        return moved

    def transport(self, elements: Elements, gradients: Tensors, tensors: Tensors) -> dict[str, Tensor]:
        """Gradients at the point that the elements move the tensors to; see `Symmetry.transport`."""
        moved, current, here = {}, dict(gradients), dict(tensors)
        for symmetry, g in self._paired(elements):
            step = symmetry.transport(g, current, here)
            moved.update(step)
            current.update(step)
            here.update(symmetry.act(g, here))
        return moved

    @torch.no_grad()
    def act_(self, elements: Elements) -> None:
        """Move the model in place: all of it, or on failure nothing.

        Args:
            elements: One per symmetry; None moves nothing.

        Raises:
            ValueError: If a moved tensor would not be finite, or does not fit the model.
            ReferenceError: If the model no longer exists.
        """
        tensors = named_tensors(self.model)
        missing = sorted({n for s in self for n in (*s.parameters, *s.reads)} - tensors.keys())
        if missing:
            raise ValueError(
                f"Symmetries.act_: the model must have every parameter that moves; got a model without {missing[0]}; "
                "find its symmetries anew."
            )
        moved = self.act(elements, tensors)
        write_atomically(((n, tensors[n], new) for n, new in moved.items()), where="Symmetries.act_")

    def save(self, elements: Elements, path: str | os.PathLike[str]) -> None:
        """Write group elements as safetensors; the groups are in the metadata. Never leaves half a file."""
        from safetensors.torch import save_file

        path = Path(path)
        names = {str(i): s.name for i, s in enumerate(self)}
        tensors = {str(i): g.contiguous() for i, g in enumerate(elements) if g is not None}
        part = path.with_name(path.name + ".part")
        save_file(tensors, str(part), metadata={"isoloss": json.dumps(names)})
        os.replace(part, path)

    def load(self, path: str | os.PathLike[str]) -> list[Tensor | None]:
        """Read group elements that `save` wrote.

        Raises:
            ValueError: If the file belongs to other symmetries.
        """
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            names = json.loads((file.metadata() or {}).get("isoloss", "{}"))
            if names != {str(i): s.name for i, s in enumerate(self)}:
                raise ValueError(
                    f"Symmetries.load: the file must hold elements of these {len(self)} symmetries; "
                    f"got {len(names)} others in {path}; find the symmetries of the model that wrote it."
                )
            known = set(file.keys())
            return [file.get_tensor(str(i)) if str(i) in known else None for i in range(len(self))]

    @property
    def table(self) -> str:
        """One line per symmetry, as text."""
        return as_text(self)

    def __repr__(self) -> str:
        return f"Symmetries({len(self)} symmetries, continuous dimension {self.dim})"

    def __str__(self) -> str:
        return self.table

    def _repr_html_(self) -> str:
        return as_html(self)

    def _with(self, items: Iterable[Symmetry]) -> "Symmetries":
        chosen = Symmetries(items, None, self.notes)
        chosen._model = self._model
        return chosen

    def _paired(self, elements: Elements):
        if len(elements) != len(self):
            raise ValueError(
                f"Symmetries: one element per symmetry; got {len(elements)} for {len(self)}; "
                "start from identity() or sample(), and put None where nothing should move."
            )
        return [(s, g) for s, g in zip(self, elements, strict=True) if g is not None]


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a tied tensor appears once, under its first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())
