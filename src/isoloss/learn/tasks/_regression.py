"""Two-layer regression on random data: what the papers learn to teleport on."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from isoloss._checks import is_length, is_whole
from isoloss.dependent import DependentAction, Difference
from isoloss.groups import PositiveScaling
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action, Dependent, Exact
from isoloss.learn.tasks._count import check_count
from isoloss.learn.tasks._tasks import Draw
from isoloss.symmetry import Block, Slot, Symmetry


@dataclass(frozen=True)
class TwoLayerRegression:
    r"""Half the squared error of a two-layer LeakyReLU network without biases, on random data.

    .. math:: L(W_1, W_2) = \tfrac12 |Y - W_2 \sigma(W_1 X)|^2

    Optimizees differ in the weights "W1" and "W2" that they start from and in their data "X" and "Y", all of them
    (size, size); samples are columns.

    Args:
        size: Samples, and units of every layer.
        entries: How all weights and data are drawn: uniform in [0, 1), or standard normal.
        slope: Of the LeakyReLU, for negative numbers.
        form: Of the data-dependent action.
        scalings: Whether the positive scalings of the hidden units are offered besides the data-dependent group.
            They keep the function, not only its values on the data, and are a subgroup of it.
        dtype: Of weights and data.

    Raises:
        ValueError: If size is less than 1, entries is unknown, or slope is not positive.

    References:
        Dissertation, Section 5.5; 2024 paper, Appendix F; 2025 paper, Section 5.2. Differs: the papers print the norm
        and do not say how the entries are drawn. Half the square and uniform entries are what gives their curves:
        gradient descent at 3e-4 ends at about 19 after 100 steps.
    """

    name: ClassVar[str] = "regression"
    size: int = 20
    entries: Literal["uniform", "normal"] = "uniform"
    slope: float = 0.1
    form: DependentAction = field(default_factory=Difference)
    scalings: bool = False
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        if not is_whole(self.size, least=1):
            raise ValueError(
                f"TwoLayerRegression: size must be at least 1; got {self.size!r}. Pass a positive integer."
            )
        if self.entries not in _ENTRIES:
            raise ValueError(
                f"TwoLayerRegression: entries must be one of {', '.join(_ENTRIES)}; got {self.entries!r}. "
                "The papers' curves are those of uniform entries."
            )
        if not (is_length(self.slope) and self.slope > 0):
            raise ValueError(
                f"TwoLayerRegression: slope must be positive; got {self.slope!r}. "
                "The activation has to be a bijection for the group to act."
            )

    @property
    def actions(self) -> tuple[Action, ...]:
        """GL(size) on the hidden layer through the data; with `scalings` the exact scalings before it."""
        dependent = Dependent(
            first="W1",
            second="W2",
            inputs="X",
            activation=nn.LeakyReLU(self.slope),
            width=self.size,
            form=self.form,
            samples="columns",
        )
        return (Exact(self._scalings, dependent.units), dependent) if self.scalings else (dependent,)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Draw n tasks.

        Raises:
            ValueError: If n is less than 1.
        """
        check_count("TwoLayerRegression", n)
        numbers = _ENTRIES[self.entries](4, n, self.size, self.size, generator=generator, dtype=self.dtype)
        w1, w2, x, y = numbers.unbind()
        return Draw({"W1": w1, "W2": w2}, {"X": x, "Y": y})

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        """All data."""
        return data

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        """Half the squared error of one task."""
        hidden = leaky_relu(parameters["W1"] @ data["X"], self.slope)
        return (data["Y"] - parameters["W2"] @ hidden).square().sum() / 2

    @property
    def _scalings(self) -> Symmetry:
        block = Block.whole((self.size, self.size))
        slots = Slot("W1", block, dims=(0,)), Slot("W2", block, dims=(1,), charge=Fraction(-1))
        return Symmetry(PositiveScaling(self.size), slots, family="scaling")


_ENTRIES = {"uniform": torch.rand, "normal": torch.randn}
