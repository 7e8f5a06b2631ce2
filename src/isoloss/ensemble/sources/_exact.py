"""Members on the orbit of the model under its symmetries: other weights, the same function."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoloss.ensemble._draw import Draw
from isoloss.symmetry import Symmetries, named_tensors


@dataclass(frozen=True)
class Exact:
    """Moves all symmetries at once, each by an element of its own.

    The members compute the same function up to rounding, so that their predictions agree on every input: such an
    ensemble is no better than the model at anything that depends on its function alone. It is the control for those
    that are, and a set of starting points for whatever depends on the weights (training, averaging, quantization).

    Attributes:
        symmetries: Those of the model; choose some by `only`, `within` or `where`.
    """

    symmetries: Symmetries

    @property
    def agree(self) -> bool:
        """Whether the symmetries are exact; those of norms may only hold up to their eps."""
        return all(s.exact for s in self.symmetries)

    def members(
        self, model: nn.Module, n: int, draw: Draw
    ) -> tuple[nn.Module, Iterable[Mapping[str, Tensor]]]:
        """See `Source`.

        Raises:
            ValueError: If there is no symmetry, or the model is not theirs.
        """
        if not len(self.symmetries):
            raise ValueError(
                "orbit_ensemble: needs at least one symmetry; got none; see the notes of isoloss.find(model, inputs), "
                "or choose a data-dependent action, OnBatch(inputs)."
            )
        symmetries, tensors = self.symmetries.bind(model), named_tensors(model)
        wide = [torch.promote_types(torch.float32, tensors[s.parameters[0]].dtype) for s in symmetries]

        def member() -> dict[str, Tensor]:
            elements = [draw.element(s, dtype) for s, dtype in zip(symmetries, wide, strict=True)]
            return symmetries.act(elements, tensors)

        with torch.no_grad():
            return model, [member() for _ in range(n)]
