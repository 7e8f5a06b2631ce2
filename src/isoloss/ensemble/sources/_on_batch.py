"""Members that a data-dependent action makes: they agree with the model on one batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.dependent import DependentAction, Difference, act_, pairs
from isoloss.ensemble._draw import Draw
from isoloss.ensemble._tensors import with_tensors
from isoloss.ensemble.recipes import Acted, Recipe
from isoloss.ensemble.sources._source import called
from isoloss.finding import find
from isoloss.symmetry import Symmetries, named_tensors


@dataclass(frozen=True)
class OnBatch:
    r"""Moves two adjacent layers by a random g and what the recipe makes of it, so that a batch is computed as before.

    .. math:: g \cdot (U, V) = (U\,\pi(g, H),\; g V), \qquad \pi(g, H) = \sigma(H)\,\sigma(gH)^+, \qquad H = V X

    is the action of the dissertation, `OnBatch(inputs, Two())`. The default, `Difference()`, is the same for more
    samples than units; for fewer it disturbs other inputs less. With a baseline for a recipe the batch is not computed
    as before, except by chance.

    Attributes:
        inputs: The batch: a tensor, a tuple of positional arguments or a dict of keyword arguments.
        recipe: A data-dependent action, or one of `isoloss.ensemble.RECIPES`.
        symmetries: Those of the model, to choose the pairs of layers that move (`within`); found if None.

    References:
        Dissertation, Eq. (2.54).
    """

    inputs: Any = field(repr=False)
    recipe: DependentAction | Recipe = Difference()
    symmetries: Symmetries | None = None

    @property
    def agree(self) -> bool:
        """No: they agree on the batch only, and there only up to its capacity."""
        return False

    def members(
        self, model: nn.Module, n: int, draw: Draw
    ) -> tuple[nn.Module, Iterable[Mapping[str, Tensor]]]:
        """See `Source`.

        Raises:
            ValueError: If the model has no pair of adjacent layers, or the action is not defined on the batch.
        """
        twin = with_tensors(
            model, {}, "orbit_ensemble"
        ).requires_grad_()  # a copy, where frozen ones may move
        found = find(model, self.inputs) if self.symmetries is None else self.symmetries
        symmetries = found.bind(twin)
        recipe = Acted(self.recipe) if isinstance(self.recipe, DependentAction) else self.recipe
        moving = pairs(symmetries)
        tensors = named_tensors(twin)
        home = {name: tensors[name].detach().clone() for pair in moving for name in pair.parameters}

        def run() -> Tensor:
            called(twin, self.inputs)
            return torch.zeros(())

        def member() -> dict[str, Tensor]:
            elements = [recipe.element(pair.width, draw).to(pair.producer.weight.device) for pair in moving]
            act_(symmetries, elements, run, action=recipe.rule(draw))
            moved = {name: tensors[name].detach().clone() for name in home}
            for name, before in home.items():
                tensors[name].copy_(before)
            return moved

        with torch.no_grad():
            return model, [member() for _ in range(n)]
