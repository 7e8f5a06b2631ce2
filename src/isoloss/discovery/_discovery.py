"""What was learned: a symmetry with its measured errors, or none and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from isoloss._checks import is_length, is_whole
from isoloss.discovery import _save
from isoloss.discovery._curve import flow_curve, map_curve
from isoloss.discovery._grade import Grade
from isoloss.discovery._learned_field import LearnedField
from isoloss.discovery._loss import Loss, Losses
from isoloss.discovery._recipe import Recipe
from isoloss.discovery._space import Space
from isoloss.discovery._symmetry import DiscoveredSymmetry
from isoloss.discovery._training import Record
from isoloss.discovery.actions import Action
from isoloss.groups import Translation
from isoloss.symmetry import named_tensors

Form = Literal["flow", "map"]


@dataclass(frozen=True, eq=False)
class Discovery:
    r"""A learned action :math:`a_X(g, \theta)` with its generators.

    Attributes:
        action: The action map, float64.
        generators: h, (k, m, m), float64.
        params: The space of the parameters, R^p.
        data: That of the data, R^q.
        grade: How good it is, on samples that training did not see.
        recipe: How it was learned.
        history: Measurements during training.
        loss: Whose symmetry it is; None if it was read from a file.
    """

    action: Action = field(repr=False)
    generators: Tensor = field(repr=False)
    params: Space = field(repr=False)
    data: Space = field(repr=False)
    grade: Grade
    recipe: Recipe = field(repr=False)
    history: Sequence[Record] = field(repr=False, default=())
    loss: Loss | None = field(repr=False, default=None)

    @property
    def found(self) -> bool:
        """Whether this is a symmetry, by the bounds of `Grade`."""
        return not self.grade.reasons

    @property
    def reason(self) -> str:
        """Why it is none; empty if it is one."""
        return "; ".join(self.grade.reasons)

    @property
    def error(self) -> float:
        """The invariance of the worst generator, relative to random directions."""
        return max(self.grade.invariance)

    def directions(self, params: Any, data: Any) -> Tensor:
        r"""The infinitesimal actions of the generators, :math:`D_g a_X|_{I, \theta}(h_i)`.

        Args:
            params: Samples as `sample_params` returns them, n of them.
            data: Likewise.

        Returns:
            (n, k, p), float64; the coordinates are those of `params.flat`.
        """
        theta, x = self._flat(params, data)
        return self.action.directions(self.generators, theta, x)

    def elements(self, t: float = 1.0) -> Tensor:
        """The group elements exp(t h), (k, m, m)."""
        return torch.linalg.matrix_exp(t * self.generators)

    @torch.no_grad()
    def act(self, g: Tensor, params: Any, data: Any) -> Any:
        r"""The moved parameters :math:`a_X(g, \theta)`, as a tree.

        Args:
            g: (m, m), or one for each sample.
            params: n samples.
            data: n samples.
        """
        theta, x = self._flat(params, data)
        return self.params.tree(self.action(g.to(theta), theta, x))

    @torch.no_grad()
    def curve(
        self,
        coefficients: Tensor,
        params: Any,
        data: Any,
        length: float = 1.0,
        points: int = 33,
        form: Form = "flow",
    ) -> Tensor:
        r"""Curves along :math:`h = \sum_i c_i h_i`, from each sample, of a given length in parameter space.

        "map" is :math:`\gamma(t) = a_X(\exp(t h), \theta)`, as in the dissertation. It keeps the loss to first order at
        its start, the only place where the action was trained. "flow" is the curve whose velocity is everywhere the
        direction of h there, :math:`\dot\gamma = D_g a_X|_{I, \gamma}(h)`. For a group action the two are the same.

        Args:
            coefficients: c, (k,) or (n, k).
            params: n samples.
            data: n samples.
            length: Of the curves; shorter where a curve of the form "map" does not get that far.
            points: On each, evenly spaced, its start among them.
            form: Which.

        Returns:
            (points, n, p).

        Raises:
            ValueError: If there are not k coefficients, the length is not positive, points are fewer than two, or the
                form is another.

        References:
            Dissertation, section 6.5.4, the curves of Figure 6.6.
        """
        theta, x = self._flat(params, data)
        k = len(self.generators)
        if tuple(coefficients.shape) not in ((k,), (len(theta), k)):
            raise ValueError(
                f"Discovery.curve: coefficients must be (k,) or (n, k), here ({k},) or ({len(theta)}, {k}); got "
                f"{tuple(coefficients.shape)}; give one for each generator."
            )
        if not is_length(length) or length <= 0 or not is_whole(points, least=2):
            raise ValueError(
                f"Discovery.curve: length must be positive and points at least 2; got {length!r} and {points!r}."
            )
        if form not in get_args(Form):
            raise ValueError(f"Discovery.curve: form must be flow or map; got {form!r}.")
        c = coefficients.to(theta).expand(len(theta), -1)
        if form == "flow":
            return flow_curve(lambda t: self._velocity(c, t, x), theta, length, points)
        h = torch.einsum("nk,kij->nij", c, self.generators)
        return map_curve(
            lambda t: self.action(torch.linalg.matrix_exp(t * h), theta, x), theta, length, points
        )

    def symmetry(self, data: Any, model: nn.Module | None = None) -> DiscoveredSymmetry:
        """What was learned, as a symmetry on given data: for `Symmetries`, `Teleport`, curves and ensembles.

        Args:
            data: One sample of data X, without the axis of samples, as the loss takes it; or a function without
                arguments that returns it.
            model: Whose parameters have the names and shapes of those that `sample_params` draws. With it the
                invariance error is measured at its parameters, on random elements of a fixed seed.

        Raises:
            ValueError: If none was found, the parameters have no names, or the model has not these.

        References:
            Dissertation, section 6.3: G acts by the flow of its infinitesimal action.
        """
        where = "Discovery.symmetry"
        if not self.found:
            raise ValueError(
                f"{where}: there must be a symmetry; got none: {self.reason}; train longer, or seek fewer generators."
            )
        if not all(self.params.names):
            raise ValueError(
                f"{where}: parameters must have names; got a bare tensor; let sample_params return a dict of tensors."
            )
        found = DiscoveredSymmetry(
            Translation(len(self.generators)),
            field=LearnedField(self.action, self.generators, self.params, self.data),
            names=self.params.names,
            data=data,
        )
        if model is None:
            return found
        named = named_tensors(model)
        for name, shape in zip(self.params.names, self.params.shapes, strict=True):
            if name not in named or tuple(named[name].shape) != shape:
                got = f"shape {tuple(named[name].shape)}" if name in named else "none"
                raise ValueError(
                    f"{where}: the model must have the parameters that were sampled; got {got} for {name} of shape "
                    f"{shape}; name those that sample_params draws as model.named_parameters() does."
                )
        if self.loss is None:
            return found
        point = {name: named[name] for name in self.params.names}
        return found.measured(self._named_loss(self.loss), point, generator=torch.Generator().manual_seed(0))

    def losses(self) -> Losses:
        """The loss on batches of vectors.

        Raises:
            ValueError: If this was read from a file, which holds no function.
        """
        if self.loss is None:
            raise ValueError(
                "Discovery: this was read from a file, which does not hold the loss; load it with loss=...."
            )
        return Losses(self.loss, self.params, self.data, "Discovery")

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write all but the loss into a folder: config.json, and safetensors named by what is in them.

        Whatever interrupts it, the folder holds what it held before, or the new one.

        Args:
            folder: Made if it is not there. A discovery in it is replaced.

        Returns:
            The folder.

        Raises:
            ValueError: If samples are in other trees than dicts, lists and tuples.
            OSError: If the folder cannot be written.
        """
        return _save.save(self, folder)

    @classmethod
    def load(
        cls, folder: str | PathLike[str], loss: Loss | None = None, action: Action | None = None
    ) -> "Discovery":
        """Read what `save` wrote, to the same bits, on the CPU.

        Args:
            folder: Where.
            loss: The loss that it is a symmetry of, which no file holds; None if its values are not needed.
            action: An `Action` made as the one that was learned, if it is none of `actions.ACTIONS`; it is copied.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If a file is damaged or of a newer format, or the action is another.
        """
        return cls(**_save.load(folder, action), loss=loss)

    def __str__(self) -> str:
        k = len(self.generators)
        what = f"{k} generator{'s' if k > 1 else ''} on {self.params.size} parameters"
        slopes = ", ".join(f"{e:.2g}" for e in self.grade.invariance)
        needs = "the same on all data"
        if self.grade.data_dependent:
            needs = f"data-dependent ({self.grade.data_dependence:.2g} of 1)"
        elif isnan(self.grade.data_dependence):
            needs = "on the only data that were drawn"
        head = f"found {what}, {needs}" if self.found else f"not found: {self.reason} ({what})"
        return f"{head}; slopes of the loss relative to random directions: {slopes}"

    def _named_loss(self, loss: Loss) -> Loss:
        """The loss as a function of parameters by name."""

        def named(tensors: dict[str, Tensor], data: Any) -> Tensor:
            flat = torch.cat([tensors[name].reshape(-1) for name in self.params.names])
            return loss(self.params.tree(flat), data)

        return named

    def _velocity(self, c: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("nk,nkp->np", c, self.action.directions(self.generators, theta, x))

    def _flat(self, params: Any, data: Any) -> tuple[Tensor, Tensor]:
        theta, x = self.params.flat(params).double(), self.data.flat(data).double()
        if len(theta) != len(x):
            raise ValueError(
                f"Discovery: there must be as many samples of data as of parameters; got {len(x)} and {len(theta)}."
            )
        return theta, x
