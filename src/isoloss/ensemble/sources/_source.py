"""What a source of members is."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from isoloss.ensemble._draw import Draw


@runtime_checkable
class Source(Protocol):
    """A way to make many models from one. A new one is one file here, and one line in `__init__`."""

    @property
    def agree(self) -> bool:
        """Do all members compute the function of the model?"""
        ...

    def members(
        self, model: nn.Module, n: int, draw: Draw
    ) -> tuple[nn.Module, Iterable[Mapping[str, Tensor]]]:
        """The members, as the tensors in which they differ from a template.

        Args:
            model: The model; left as it is.
            n: Number of members.
            draw: How group elements are drawn.

        Returns:
            A model with the code and settings of all members, and for each member new tensors by name, the same
            names for each.
        """
        ...


def called(model: nn.Module, inputs: Any) -> Any:
    """What the model returns for a tensor, a tuple of positional arguments or a dict of keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
