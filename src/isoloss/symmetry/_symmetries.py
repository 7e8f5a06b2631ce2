"""All the symmetries of one model: a list that can move the model, and that prints as a table."""

import json
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn

from isoloss._files import write_file
from isoloss.groups import Affine, GeneralLinear, Group, Orthogonal
from isoloss.groups._group import excerpt
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

    def __init__(
        self, symmetries: Iterable[Symmetry], model: nn.Module | None = None, notes: Iterable[str] = ()
    ):
        self._items = tuple(symmetries)
        self._model = weakref.ref(model) if model is not None else None
        self._shapes = {} if model is None else {n: t.shape for n, t in named_tensors(model).items()}
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
        """The same symmetries for another model of the same architecture.

        Raises:
            ValueError: If the model lacks one of the parameters, or has it in another shape.
        """
        self.check_fits(named_tensors(model), "Symmetries.bind")
        return Symmetries(self, model, self.notes)

    def only(self, *groups: type[Group]) -> "Symmetries":
        """Those whose group is of one of these types.

        Raises:
            TypeError: If one is no class of groups.
        """
        for g in groups:
            if not (isinstance(g, type) and issubclass(g, Group)):
                raise TypeError(
                    f"Symmetries.only: takes classes of groups; got {g!r}; "
                    "pass isoloss.groups.Permutation, say, or use where(...)."
                )
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
        return [s.identity(dtype=dtype) for s, dtype in zip(self, self._dtypes(), strict=True)]

    def sample(self, scale: float = 0.5, generator: torch.Generator | None = None) -> list[Tensor]:
        """One random element per symmetry; scale is the size of the algebra elements.

        Elements for parameters in float64 are float64 themselves: a rotation of fewer digits is no rotation there.
        """
        dtypes = self._dtypes()
        return [s.sample(scale, generator, dtype=dtype) for s, dtype in zip(self, dtypes, strict=True)]

    def act(self, elements: Elements, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors that the elements move, as new tensors, by name.

        Args:
            elements: One per symmetry; None moves nothing.
            tensors: Named parameters and buffers of the model.

        Raises:
            ValueError: If there is not one element per symmetry, or one has not its shape or sort of numbers.
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
            ValueError: If an element is none of its group, or a moved tensor would not be finite or does not fit.
            ReferenceError: If the model no longer exists.
        """
        tensors = named_tensors(self.model)
        self.check_fits(tensors, "Symmetries.act_")
        for s, g in self._paired(elements):
            if not _lies_in(s.group, g):
                raise ValueError(
                    f"Symmetries.act_: elements must lie in their group, or the function changes; got {excerpt(g)} "
                    f"for {s.name} on {s.parameters[0]}; nothing was changed; ask group.contains beforehand."
                )
        moved = self.act(elements, tensors)
        write_atomically(((n, tensors[n], new) for n, new in moved.items()), where="Symmetries.act_")

    def save(self, elements: Elements, path: str | os.PathLike[str]) -> None:
        """Write group elements as safetensors; what they act on is in the metadata. Never leaves half a file."""
        from safetensors.torch import save

        self._paired(elements)
        # Cloned: safetensors refuses tensors that share memory.
        tensors = {str(i): g.detach().clone().contiguous() for i, g in enumerate(elements) if g is not None}
        write_file(path, save(tensors, metadata={"isoloss": json.dumps(self._signature())}))

    def load(self, path: str | os.PathLike[str]) -> list[Tensor | None]:
        """Read group elements that `save` wrote.

        Files of the first versions name the parameters that move, but not which parts of them do. They are read as
        well, with a warning where that leaves the order of two symmetries open.

        Raises:
            ValueError: If the file belongs to other symmetries, or to these in another order.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                written = json.loads((file.metadata() or {}).get("isoloss", "null"))
                known = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise ValueError(
                f"Symmetries.load: the file must be one that save wrote; got {path}, no safetensors ({error}); "
                "save the elements again."
            ) from error
        early = [[s.name, *s.parameters] for s in self]
        if written not in (json.loads(json.dumps(self._signature())), early):
            others = "no elements" if written is None else f"elements of {len(written)} others"
            raise ValueError(
                f"Symmetries.load: the file must hold elements of these {len(self)} symmetries; "
                f"got {others} in {path}; find the symmetries of the model that wrote it."
            )
        if written == early and len(set(map(tuple, early))) < len(early):
            warnings.warn(
                f"Symmetries.load: {path} is too old to tell symmetries of the same parameters apart; "
                "if they have been reordered, elements go astray; save them again.",
                stacklevel=2,
            )
        return [known.get(str(i)) for i in range(len(self))]

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

    def __getstate__(self) -> dict[str, Any]:
        # A weak reference cannot be pickled; what comes back is to be bound.
        return self.__dict__ | {"_model": None}

    def _with(self, items: Iterable[Symmetry]) -> "Symmetries":
        chosen = Symmetries(items, None, self.notes)
        chosen._model, chosen._shapes = self._model, self._shapes
        return chosen

    def _dtypes(self) -> list[torch.dtype]:
        """For each symmetry, the widest of the default dtype and those of the parameters that it moves."""
        model = self._model() if self._model is not None else None
        tensors = {} if model is None else named_tensors(model)
        dtypes = []
        for s in self:
            dtype = torch.get_default_dtype()
            for name in s.parameters:
                if name in tensors:
                    dtype = torch.promote_types(dtype, tensors[name].dtype)
            dtypes.append(dtype)
        return dtypes

    def _signature(self) -> list[list]:
        return [s.signature() for s in self]

    def check_fits(self, tensors: Tensors, where: str) -> None:
        """Refuse tensors that are none of a model of this architecture.

        Args:
            tensors: Parameters and buffers by name.
            where: Who asks, for the message.

        Raises:
            ValueError: If one is missing that a symmetry moves or reads, or has another shape.
        """
        for name in dict.fromkeys(n for s in self for n in (*s.parameters, *s.reads)):
            known = self._shapes.get(name)
            if name not in tensors:
                raise ValueError(
                    f"{where}: the model must have every parameter that moves; got a model without {name}; "
                    "find its symmetries anew."
                )
            if known is not None and tensors[name].shape != known:
                raise ValueError(
                    f"{where}: parameters must have the shapes they had when the symmetries were found; "
                    f"got {tuple(tensors[name].shape)} for {name} of shape {tuple(known)}; find its symmetries anew."
                )

    def _paired(self, elements: Elements):
        if not isinstance(elements, Sequence):
            raise ValueError(
                f"Symmetries: elements must be a list, one per symmetry; got {type(elements).__name__}; "
                "start from identity() or sample(), and put None where nothing should move."
            )
        if len(elements) != len(self):
            raise ValueError(
                f"Symmetries: one element per symmetry; got {len(elements)} for {len(self)}; "
                "start from identity() or sample(), and put None where nothing should move."
            )
        pairs = [(s, g) for s, g in zip(self, elements, strict=True) if g is not None]
        for s, g in pairs:
            model = s.identity(device=torch.device("meta"))
            if not isinstance(g, Tensor) or g.shape != model.shape:
                got = tuple(g.shape) if isinstance(g, Tensor) else repr(g)
                raise ValueError(
                    f"Symmetries: an element of {s.name} has shape {tuple(model.shape)}; got {got}; "
                    "start from identity() or sample()."
                )
            if g.dtype != model.dtype and not (g.is_floating_point() and model.is_floating_point()):
                sort = "floating-point numbers" if model.is_floating_point() else "indices, int64"
                raise ValueError(
                    f"Symmetries: an element of {s.name} holds {sort}; got {g.dtype} for "
                    f"{', '.join(s.parameters)}; give the elements in the order of the symmetries."
                )
        return pairs


def _lies_in(group: Group, g: Tensor) -> bool:
    if isinstance(group, GeneralLinear | Affine):
        return True  # singular values cost more than the move; the solve refuses what has no inverse
    # Rotations may have lost half their digits in products, but no more.
    tolerance = torch.finfo(g.dtype).eps ** 0.5 if isinstance(group, Orthogonal) else None
    return group.contains(g, tolerance=tolerance)


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a tied tensor appears once, under its first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())
