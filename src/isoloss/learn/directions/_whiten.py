"""The direction in which the hidden units become uncorrelated and equally large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups import GeneralLinear, PositiveScaling
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action


@dataclass(frozen=True)
class Whiten:
    r"""Unit step along it whitens the activations S of the hidden units, where the activation is linear.

    .. math:: a = -\tfrac12 \log \frac{S S^T}{\bar\lambda}, \qquad
        e^{a} S S^T e^{a T} = \bar\lambda\, 1

    where :math:`\bar\lambda` is the mean eigenvalue. So least squares in the weights that read the units become well
    conditioned. A scaling does what it can: the diagonal of the matrix takes the place of the matrix. With a
    homogeneous activation and a scaling it is exact, with others and GL it is as good as the units are linear.

    A constant of the point: no derivative goes through it, for that of eigenvectors is infinite where eigenvalues meet.

    Attributes:
        floor: Eigenvalues below this fraction of the mean count as that much. Where all are zero, or activations are
            not finite, nothing is proposed.
    """

    floor: float = 1e-6

    name: ClassVar[str] = "whiten"

    def suits(self, action: Action) -> bool:
        """Is it one element of GL or of a scaling, on units that the action knows?"""
        knows = getattr(action, "sees_units", True)
        return isinstance(action.group, GeneralLinear | PositiveScaling) and not action.batch and knows

    def __call__(
        self,
        action: Action,
        loss: Callable[[Tensors], Tensor],
        parameters: Tensors,
        data: Tensors,
        gradient: Tensors,
    ) -> Tensor:
        """See `Direction`.

        Raises:
            ValueError: If the action has no units.
        """
        s = action.units(parameters, data)
        if s is None:
            raise ValueError(
                f"Whiten: there must be hidden units to whiten; got none from {action.name}; ask suits(action) first."
            )
        wide = _scaled(s.detach().double())
        if isinstance(action.group, PositiveScaling):
            return (-0.5 * self._log(wide.square().sum(-1))).to(s)
        values, vectors = torch.linalg.eigh(wide @ wide.mT)
        return ((vectors * (-0.5 * self._log(values))) @ vectors.mT).to(s)

    def _log(self, values: Tensor) -> Tensor:
        mean = values.mean(-1, keepdim=True)
        some = mean > 0
        return torch.where(some, values / torch.where(some, mean, 1.0), 1.0).clamp_min(self.floor).log()


def _scaled(s: Tensor) -> Tensor:
    """Divided by the largest entry, whose square may be no number; zero if there are entries that are none."""
    s = torch.where(s.isfinite().all(), s, 0.0)
    largest = s.abs().amax()
    return s / torch.where(largest > 0, largest, 1.0)
