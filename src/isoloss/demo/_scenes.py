"""Where the contenders start: the default initialization, or the same function badly scaled."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoloss.groups import PositiveScaling
from isoloss.symmetry import Symmetries


@dataclass(frozen=True)
class Scene:
    """A way to start.

    Attributes:
        name: Key in results.json.
        title: What the figure calls it.
        sigma: Standard deviation of the logarithm of the factors that every neuron is rescaled by.
    """

    name: str
    title: str
    sigma: float = 0.0

    def prepare_(self, model: nn.Module, symmetries: Symmetries, seed: int) -> None:
        """Rescale the model in place along its exact scaling symmetries; the function stays."""
        if self.sigma:
            rescaling = scalings(symmetries).bind(model)
            generator = torch.Generator().manual_seed(seed)
            rescaling.act_(rescaling.sample(scale=self.sigma, generator=generator))


def scenes(symmetries: Symmetries, sigma: float) -> list[Scene]:
    """The default initialization, and the badly scaled one where there is a scaling to do it with."""
    plain = Scene("default", "default initialization")
    badly = Scene("badly scaled", f"same function, badly scaled (log-normal, $\\sigma$ = {sigma:g})", sigma)
    return [plain, badly] if sigma and len(scalings(symmetries)) else [plain]


def scalings(symmetries: Symmetries) -> Symmetries:
    """The exact positive scalings."""
    return symmetries.only(PositiveScaling).where(lambda s: s.exact)


@torch.no_grad()
def change(scene: Scene, model: nn.Module, symmetries: Symmetries, seed: int, x: Tensor) -> float:
    """Relative change of the outputs that the scene's rescaling makes, in float64, on a copy of the model."""
    model, x = copy.deepcopy(model).double(), x.double()
    before = model(x)
    scene.prepare_(model, symmetries, seed)
    return ((model(x) - before).norm() / before.norm()).item()
