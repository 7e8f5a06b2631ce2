"""Gradient descent with ordinary teleportation."""

from dataclasses import dataclass, field
from typing import ClassVar

from isoloss._checks import is_whole
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Dependent
from isoloss.learn.baselines._ascent import Ascent
from isoloss.learn.baselines._gradient_descent import GradientDescent
from isoloss.learn.baselines._landing import Landing
from isoloss.learn.tasks import Tasks


@dataclass(frozen=True)
class GradientDescentTeleport(GradientDescent):
    """Gradient descent that some steps begin with a teleport to a larger gradient.

    Without actions of the tasks it is gradient descent. By default it teleports once, and not far: on the regression of
    the papers every teleport makes the loss steeper for all steps that follow, and many of them, even of 0.1, end in
    divergence at every learning rate that gets anywhere. On the test functions ten far ones are best; see `TELEPORTS`.

    Args:
        every: The first step teleports, and then every so many.
        most: Number of teleports after which there are no more; None for no bound.
        minibatches: Whether actions through the data are used where a step sees only some of them. They keep the loss
            on those, and move it on all others.
        ascent: Finds the group elements.

    Raises:
        ValueError: If every or most is less than 1.

    References:
        2022 paper, Algorithm 1; dissertation, Section 4.3 and, for ten ascent steps every ten steps, Figure 4.9.
    """

    name: ClassVar[str] = "gd-teleport"
    every: int = 10
    most: int | None = 1
    minibatches: bool = False
    ascent: Ascent = field(default_factory=Ascent)

    def __post_init__(self) -> None:
        if not is_whole(self.every, least=1) or not (self.most is None or is_whole(self.most, least=1)):
            raise ValueError(
                f"GradientDescentTeleport: every and most must be at least 1; got {self.every!r} and {self.most!r}. "
                "Use GradientDescent for no teleports, most = None for no bound."
            )

    def teleport(
        self, tasks: Tasks, parameters: Tensors, data: Tensors, step: int, *, whole: bool
    ) -> Landing | None:
        """To a larger gradient."""
        actions = tuple(x for x in tasks.actions if whole or self.minibatches or not isinstance(x, Dependent))
        jump, rest = divmod(step, self.every)
        if rest or (self.most is not None and jump >= self.most) or not actions:
            return None
        return self.ascent(tasks, actions, parameters, data)
