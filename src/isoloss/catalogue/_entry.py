"""What an entry of the catalogue is."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Data, Problem, Tensors
from isoloss.catalogue._verdict import Of, Transformation
from isoloss.groups import Group


@dataclass(frozen=True)
class Example:
    """An architecture of definite sizes with its group and the action, written as in the source.

    Attributes:
        problem: The network, and the loss if there is one.
        group: What one element is.
        act: The action: takes an element, parameters by name, and a batch if it is data-dependent, and returns the
            parameters that it moves.
        batch: Sizes of the axes along which the element may differ: one per head, say.
        model: The module, float64; None where the function is no network.
        samples: So many are drawn to try it on; for a data-dependent action no more than it keeps.
    """

    problem: Problem
    group: Group
    act: Callable[..., Tensors]
    batch: tuple[int, ...] = ()
    model: nn.Module | None = None
    samples: int = 4

    @classmethod
    def of(
        cls,
        model: nn.Module,
        data: Data,
        group: Group,
        act: Callable[..., Tensors],
        batch: tuple[int, ...] = (),
    ) -> "Example":
        """That of a module, made float64, whose symmetry needs no loss."""
        return cls(Problem.of(model.double(), data), group, act, batch, model)

    @property
    def inputs(self) -> Any:
        """Example inputs, for `isoloss.find`."""
        return self.problem.draw_data(self.samples, torch.Generator().manual_seed(0))

    @property
    def dim(self) -> int:
        """Continuous dimension of the group, over the whole batch."""
        return prod(self.batch) * self.group.dim

    def sample(self, generator: torch.Generator | None = None, scale: float = 0.5) -> Tensor:
        """A random element, float64."""
        return self.group.sample(self.batch, scale=scale, generator=generator, dtype=torch.float64)

    def identity(self) -> Tensor:
        """The identity, float64."""
        return self.group.identity(self.batch, dtype=torch.float64)


@dataclass(frozen=True)
class Entry:
    """A symmetry of the catalogue.

    Attributes:
        name: As in Table 1.1, where it is there.
        source: Example and table of the dissertation.
        kind: What it keeps.
        of: Whether that is the network or the loss.
        architecture: The function, in LaTeX.
        group: The group, in LaTeX.
        action: The action, in LaTeX.
        dimension: Its continuous dimension, in LaTeX; 0 if it is discrete.
        limits: When it does not hold, and where the source is to be read with care.
        example: Makes an example.
    """

    name: str
    source: str
    kind: Kind
    of: Of
    architecture: str
    group: str
    action: str
    dimension: str
    limits: str
    example: Callable[[], Example]

    def transformation(self, g: Tensor, example: Example) -> Transformation:
        """The transformation of parameters that an element is, as `is_symmetry` takes it."""
        if self.kind is Kind.DATA_DEPENDENT:
            return lambda theta, data: example.act(g, theta, data)
        return lambda theta: example.act(g, theta)
