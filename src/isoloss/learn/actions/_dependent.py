"""Data-dependent actions on two adjacent layers of an optimizee."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from isoloss.dependent import Activation, DependentAction, Difference, Extended, One, activation_of
from isoloss.groups import GeneralLinear
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions._forms import FORMS, units


@dataclass(frozen=True)
class Dependent:
    r"""GL(h) on the h units between two layers, such that the batch of the task is computed as before.

    .. math:: V' = g V, \qquad U' = U + U (S - S') S'^{+}, \qquad S = \sigma(V X), \quad S' = \sigma(V' X)

    This is the default form, `isoloss.dependent.Difference`. With at most h samples the loss does not change; with
    more it is a least-squares fit, and the loss moves. Everything between the weights given and those returned is
    float64.

    Attributes:
        first: Name of V, (h, n), as in nn.Linear.
        second: Name of U, (o, h).
        inputs: Name of X in the data; or a function from weights and data to it, for layers further up.
        activation: Between the layers: a module of `isoloss.dependent.ACTIVATIONS`, or an `Activation`.
        width: The number h.
        form: Which of the formulas: `Difference`, `Frame`, `One` or `Two` of `isoloss.dependent`. Their cutoff is not
            read, for ranks are not measured.
        biases: Names of the two biases, (h,) and (o,); None where there is none. Biases count as weights on a constant.
        samples: What a sample is in X: "rows", X is (k, n), as nn.Linear reads it; "columns", X is (n, k), as the
            papers write it.

    Raises:
        ValueError: If the form, the activation or `samples` is none of these, or action 1 has no inverse to use.

    References:
        Dissertation, Section 4.4.2, Eqs. (4.13), (4.16). Differs: see the forms.
    """

    first: str
    second: str
    inputs: str | Callable[[Tensors, Tensors], Tensor]
    activation: nn.Module | Activation
    width: int
    form: DependentAction = field(default_factory=Difference)
    biases: tuple[str | None, str | None] = (None, None)
    samples: Literal["rows", "columns"] = "rows"

    sees_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if type(self.form) not in FORMS:
            known = ", ".join(f"{form.__name__}()" for form in FORMS)
            raise ValueError(
                f"Dependent: form must be one of {known}; got {self.form!r}; choose Difference()."
            )
        if self.samples not in ("rows", "columns"):
            raise ValueError(
                f'Dependent: samples must be "rows" or "columns"; got {self.samples!r}; '
                'write "rows" if the inputs are (k, n), as nn.Linear reads them.'
            )
        if self._activation is None:
            raise ValueError(
                f"Dependent: the activation must be one of isoloss.dependent.ACTIVATIONS; got {self.activation!r}; "
                "pass Activation(value, slope) for others."
            )
        iterative = isinstance(self.activation, nn.Tanh | nn.Sigmoid | Extended)
        if isinstance(self.form, One) and (iterative or self._activation.inverse is None):
            raise ValueError(
                f"Dependent: One inverts the activation in closed form; got {self.activation!r}; "
                "use nn.LeakyReLU, or choose Difference()."
            )
        GeneralLinear(self.width)  # refuses what is no width

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.group.name} by {self.form.name}"

    @property
    def group(self) -> GeneralLinear:
        """GL(h)."""
        return GeneralLinear(self.width)

    @property
    def batch(self) -> tuple[int, ...]:
        """One element moves the optimizee."""
        return ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """The two weights, and the biases there are."""
        return (self.first, self.second, *(b for b in self.biases if b is not None))

    def act(self, g: Tensor, parameters: Tensors, data: Tensors) -> Tensors:
        """See `Action`.

        Raises:
            ValueError: If weights, biases and inputs do not fit each other.
        """
        v, u, x = self._matrices(parameters, data)
        v, u = FORMS[type(self.form)](self.form, g.double(), v, u, x, self._sigma)
        below, above = self.biases
        new = {self.first: v if below is None else v[:, :-1], self.second: u[:, : self.width]}
        if below is not None:
            new[below] = v[:, -1]
        if above is not None:
            new[above] = u[:, -1]
        return {name: value.to(parameters[name].dtype) for name, value in new.items()}

    def units(self, parameters: Tensors, data: Tensors) -> Tensor:
        """The activations S on the batch, (h, k), in the dtype of the weights."""
        v, _, x = self._matrices(parameters, data)
        return units(v, x, self.width, self._sigma).to(parameters[self.first].dtype)

    def _matrices(self, parameters: Tensors, data: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        v, u = parameters[self.first], parameters[self.second]
        x = data[self.inputs] if isinstance(self.inputs, str) else self.inputs(parameters, data)
        x = x.mT if self.samples == "rows" else x
        if len(v) != self.width or u.shape[1:] != (self.width,) or v.shape[1:] != x.shape[:-1]:
            shapes = ", ".join(str(tuple(t.shape)) for t in (v, u, x))
            raise ValueError(
                "Dependent: weights and inputs, a sample per column, must be (h, n), (o, h) and (n, k); "
                f"got {shapes} for h = {self.width}; see `width` and `samples`."
            )
        below, above = self.biases
        if below is not None:
            v = torch.cat([v, parameters[below].unsqueeze(1)], 1)
            x = torch.cat([x, torch.ones_like(x[:1])])
        if above is not None:
            u = torch.cat([u, parameters[above].unsqueeze(1)], 1)
        return v.double(), u.double(), x.double()

    @property
    def _activation(self) -> Activation | None:
        return self.activation if isinstance(self.activation, Activation) else activation_of(self.activation)

    @property
    def _sigma(self) -> Activation:
        found = self._activation
        assert found is not None  # checked at construction
        return found
