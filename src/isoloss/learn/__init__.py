"""Learning to teleport: meta-optimizers that choose the local update and the group element."""

from isoloss.learn._design import Design
from isoloss.learn._evaluate import evaluate
from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._optimizer import LearnedOptimizer
from isoloss.learn._rollout import Rollout
from isoloss.learn._save import load, save
from isoloss.learn._step import Point
from isoloss.learn._tensors import Tensors
from isoloss.learn._unroll import Loop, Unrolled
from isoloss.learn.actions import Action, Dependent, Exact, Rotation
from isoloss.learn.directions import DIRECTIONS, Direction
from isoloss.learn.parts import PARTS
from isoloss.learn.tasks import TASKS, Draw, Tasks
from isoloss.learn.training import DivergenceError, Recipe, RunRecord, Trained, load_checkpoint, meta_train

__all__ = [
    "DIRECTIONS",
    "PARTS",
    "TASKS",
    "Action",
    "Dependent",
    "Design",
    "Direction",
    "DivergenceError",
    "Draw",
    "Exact",
    "Layout",
    "LearnedOptimizer",
    "Loop",
    "MetaOptimizer",
    "Point",
    "Recipe",
    "Rollout",
    "Rotation",
    "RunRecord",
    "Tasks",
    "Tensors",
    "Trained",
    "Unrolled",
    "evaluate",
    "load",
    "load_checkpoint",
    "meta_train",
    "save",
]
