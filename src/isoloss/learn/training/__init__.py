"""Training meta-optimizers: recipes, meta-gradients, checkpoints."""

from isoloss.learn.training._objective import OBJECTIVES, WEIGHTS, objective
from isoloss.learn.training._progress import RunRecord, load_checkpoint
from isoloss.learn.training._recipe import Recipe
from isoloss.learn.training._train import DivergenceError, Trained, meta_train

__all__ = [
    "OBJECTIVES",
    "WEIGHTS",
    "DivergenceError",
    "Recipe",
    "RunRecord",
    "Trained",
    "load_checkpoint",
    "meta_train",
    "objective",
]
