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
        approximate: Also move those that only hold up to the eps of a norm; the members then agree up to it. And
            discovered ones, which keep the losses on the data that they were made for, as far as their `error` says;
            outputs need not agree.
    """

    symmetries: Symmetries
    approximate: bool = False

    @property
    def agree(self) -> bool:
        """Whether all that moves is exact."""
        return all(s.exact for s in self._moving)

    @property
    def _moving(self) -> Symmetries:
        return self.symmetries.where(lambda s: s.exact or self.approximate)

    def members(
        self, model: nn.Module, n: int, draw: Draw
    ) -> tuple[nn.Module, Iterable[Mapping[str, Tensor]]]:
        """See `Source`.

        Raises:
            ValueError: If there is no symmetry, or the model is not theirs.
        """
        if not len(self._moving):
            raise ValueError(
                f"orbit_ensemble: needs at least one exact symmetry; got none of {len(self.symmetries)}; see the notes "
                "of isoloss.find(model, inputs), choose a data-dependent action, OnBatch(inputs), or "
                "Exact(symmetries, approximate=True)."
            )
        symmetries, tensors = self._moving.bind(model), named_tensors(model)
        wide = [torch.promote_types(torch.float32, tensors[s.parameters[0]].dtype) for s in symmetries]

        def member() -> dict[str, Tensor]:
            elements = [draw.element(s, dtype) for s, dtype in zip(symmetries, wide, strict=True)]
            return symmetries.act(elements, tensors)

        with torch.no_grad():
            return model, [member() for _ in range(n)]
