"""What is trained, how, and on what it is tested."""

from dataclasses import dataclass, field, replace

from isoloss._checks import is_whole
from isoloss.learn._design import Design
from isoloss.learn.tasks import ImageTasks, Tasks
from isoloss.learn.training import Recipe

TIMES = 10
"""The test is so many times as long as the horizon of the training, unless somebody says otherwise."""


@dataclass(frozen=True)
class Settings:
    """What is trained, how, and on what it is tested.

    Attributes:
        tasks: What is trained on.
        design: Of the meta-optimizer.
        recipe: Of the training.
        test_tasks: Unseen tasks; as many others choose the learning rates of the baselines.
        test_steps: Steps on each; None for ten times the horizon.

    Raises:
        ValueError: If there are no test tasks or no steps, or the variant has tele and nothing can teleport the tasks.
    """

    tasks: Tasks
    design: Design = field(default_factory=Design)
    recipe: Recipe = field(default_factory=Recipe)
    test_tasks: int = 16
    test_steps: int | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.test_tasks, least=1):
            raise ValueError(f"learn: there must be at least 1 test task; got {self.test_tasks!r}.")
        if self.test_steps is not None and not is_whole(self.test_steps, least=1):
            raise ValueError(f"learn: a test must have at least 1 step; got {self.test_steps!r}.")
        if "tele" in self.design.variant and not self.tasks.actions:
            raise ValueError(
                f"learn: tele needs tasks with an action; {self.tasks.name} has none; leave tele out of the variant."
            )

    @property
    def steps(self) -> int:
        """Steps of the test."""
        return TIMES * self.recipe.horizon if self.test_steps is None else self.test_steps

    @property
    def unseen(self) -> Tasks:
        """What test tasks are drawn from: of images those held out, else the same distribution."""
        return replace(self.tasks, held_out=True) if isinstance(self.tasks, ImageTasks) else self.tasks

    @property
    def variant(self) -> str:
        """Its parts, as one writes them."""
        return ",".join(self.design.variant)
