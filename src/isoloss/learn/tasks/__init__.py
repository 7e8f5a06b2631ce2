"""Distributions of tasks to learn on; `TASKS` lists them by name."""

from collections.abc import Callable

from isoloss.learn.tasks._booth import BoothTasks, FixedBoothTasks
from isoloss.learn.tasks._check import check_tasks
from isoloss.learn.tasks._exact import as_actions, exact_actions
from isoloss.learn.tasks._images import ImageTasks
from isoloss.learn.tasks._logistic import LogisticRegression
from isoloss.learn.tasks._module import ModuleTasks
from isoloss.learn.tasks._perceptron import DigitsPerceptron
from isoloss.learn.tasks._regression import TwoLayerRegression
from isoloss.learn.tasks._rosenbrock import FixedRosenbrockTasks, RosenbrockTasks
from isoloss.learn.tasks._squares import SquaresTasks
from isoloss.learn.tasks._tasks import Draw, Tasks

TASKS: dict[str, Callable[[], Tasks]] = {
    "regression": TwoLayerRegression,
    "booth-fixed": FixedBoothTasks,
    "booth": BoothTasks,
    "rosenbrock-fixed": FixedRosenbrockTasks,
    "rosenbrock": RosenbrockTasks,
    "logistic": LogisticRegression,
    "mlp": DigitsPerceptron,
}
"""Distributions by name; each is made without arguments. They draw on the CPU, with a generator of the CPU."""

__all__ = [
    "TASKS",
    "BoothTasks",
    "DigitsPerceptron",
    "Draw",
    "FixedBoothTasks",
    "FixedRosenbrockTasks",
    "ImageTasks",
    "LogisticRegression",
    "ModuleTasks",
    "RosenbrockTasks",
    "SquaresTasks",
    "Tasks",
    "TwoLayerRegression",
    "as_actions",
    "check_tasks",
    "exact_actions",
]
