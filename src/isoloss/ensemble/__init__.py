"""Ensembles of models that symmetries make from one, and attacks to try them with.

Example:
    >>> import torch, isoloss
    >>> from isoloss.ensemble import FGSM, OnBatch, orbit_ensemble, robustness_curve
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LeakyReLU(), torch.nn.Linear(8, 3)).eval()
    >>> x, y = torch.rand(20, 4), torch.randint(3, (20,))
    >>> ensemble = orbit_ensemble(model, OnBatch(x), n=10, epsilon=0.1)
    >>> len(robustness_curve(ensemble, x, y, [0.0, 0.1, 0.2], FGSM()).accuracy)
    3
"""

from isoloss.ensemble._draw import Draw
from isoloss.ensemble._ensemble import Ensemble
from isoloss.ensemble._orbit import orbit_ensemble
from isoloss.ensemble._robustness import RobustnessCurve, robustness_curve
from isoloss.ensemble.attacks import ATTACKS, FGSM, PGD, Attack
from isoloss.ensemble.recipes import (
    RECIPES,
    Acted,
    InterpolatedPermutation,
    Inverse,
    Random,
    Recipe,
    Shuffle,
)
from isoloss.ensemble.sources import Acting, Exact, OnBatch, Source, WithinActivation

__all__ = [
    "ATTACKS",
    "FGSM",
    "PGD",
    "RECIPES",
    "Acted",
    "Acting",
    "Attack",
    "Draw",
    "Ensemble",
    "Exact",
    "InterpolatedPermutation",
    "Inverse",
    "OnBatch",
    "Random",
    "Recipe",
    "RobustnessCurve",
    "Shuffle",
    "Source",
    "WithinActivation",
    "orbit_ensemble",
    "robustness_curve",
]
