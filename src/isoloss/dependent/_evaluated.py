"""Any function of the weights, pulled back to the elements."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from isoloss.dependent._recursion import Recursion, There


class Measure(Protocol):
    """A differentiable function of a model's parameters, to be raised or lowered."""

    def value(self, w: dict[str, Tensor], /) -> Tensor:
        """The function where the parameters named have other values; a tensor of no dimension."""
        ...

    def slope(self, w: dict[str, Tensor], /) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The same, and its gradient by the parameters named; what is missing in it is zero."""
        ...


class Evaluated:
    r"""A measure as a function of the elements.

    .. math:: df = \sum_l \langle C_l, dW_l(\Theta) \rangle, \qquad C_l = \partial f / \partial W_l

    The measure is differentiated by the moved weights alone, once; `Recursion.slopes` contracts the rest in closed
    form, and nothing is differentiated by autograd through a fit.

    Args:
        recursion: The network.
        measure: The function.
    """

    whole: ClassVar[bool] = True

    def __init__(self, recursion: Recursion, measure: Measure):
        self._recursion, self._measure = recursion, measure

    def value(self, there: There) -> tuple[float, float]:
        """The value, and the loss."""
        return float(self._measure.value(self._moved(there))), float(there.loss)

    def slopes(self, there: There, thetas: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Derivatives over the elements, and the value, for `value_along`."""
        value, found = self._measure.slope(self._moved(there))
        return self._recursion.slopes(there, thetas, covectors=self._covectors(found)), value

    def value_along(self, there: There, value: Tensor) -> tuple[float, float]:
        """The value and the loss, from what `slopes` has found."""
        return float(value), float(there.loss)

    def _moved(self, there: There) -> dict[str, Tensor]:
        pairs = zip(self._recursion.sites, there.traces, strict=True)
        return {n: new for s, t in pairs if s.moves for n, new in s.stage.layer.tensors(t.w).items()}

    def _covectors(self, found: Mapping[str, Tensor]) -> list[Tensor | None]:
        """Derivatives by the matrices, from those by the parameters that make them up."""
        covectors: list[Tensor | None] = []
        for site in self._recursion.sites:
            if not site.moves:
                covectors.append(None)
                continue
            names = site.stage.layer.tensors(site.matrix)
            parts = [found[n] if n in found else torch.zeros_like(t) for n, t in names.items()]
            columns = [parts[0].flatten(1), *(p[:, None] for p in parts[1:])]
            covectors.append(torch.cat([c.to(site.matrix) for c in columns], 1))
        return covectors
