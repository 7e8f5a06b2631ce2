"""Small multilayer perceptrons on images."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from torch import nn

from isoloss._checks import is_whole
from isoloss.learn.actions import Action, Dependent
from isoloss.learn.tasks._exact import exact_actions
from isoloss.learn.tasks._images import ImageTasks


@dataclass(frozen=True)
class DigitsPerceptron(ImageTasks):
    """One hidden layer with biases: "0.weight", "0.bias", "2.weight", "2.bias", as in nn.Sequential.

    Args:
        hidden: Units of the hidden layer.
        activation: Of the hidden layer; LeakyReLU has slope 0.1.
    """

    name: ClassVar[str] = "mlp"
    hidden: int = 32
    activation: Literal["leaky_relu", "tanh"] = "leaky_relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.hidden, least=1):
            raise ValueError(
                f"DigitsPerceptron: hidden must be at least 1; got {self.hidden!r}. Pass a positive integer."
            )
        if self.activation not in _ACTIVATIONS:
            raise ValueError(
                f"DigitsPerceptron: the activation must be one of {', '.join(_ACTIVATIONS)}; got {self.activation!r}. "
                "Use ModuleTasks for others."
            )

    @property
    def actions(self) -> tuple[Action, ...]:
        """The exact symmetries of the network, and GL(hidden) through the images of a step.

        LeakyReLU has positive scalings, tanh no continuous symmetry. The data-dependent group is offered where it
        keeps the loss of the step: while a step sees no more images than there are hidden units and a bias. It moves
        the loss on other images.
        """
        return self._actions

    @cached_property
    def _actions(self) -> tuple[Action, ...]:
        dependent = Dependent(
            first="0.weight",
            second="2.weight",
            inputs="inputs",
            activation=_ACTIVATIONS[self.activation](),
            width=self.hidden,
            biases=("0.bias", "2.bias"),
        )
        seen = min(self.samples, self.batch or self.samples)
        exact = exact_actions(self._tasks.module, self._pool[0][:8], dependent.units)
        return (*exact, dependent) if seen <= self.hidden + 1 else exact

    def network(self, pixels: int, classes: int) -> nn.Sequential:
        """Two layers."""
        return nn.Sequential(
            nn.Linear(pixels, self.hidden), _ACTIVATIONS[self.activation](), nn.Linear(self.hidden, classes)
        )


_ACTIVATIONS = {"leaky_relu": lambda: nn.LeakyReLU(0.1), "tanh": nn.Tanh}
