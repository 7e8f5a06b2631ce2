"""The fast gradient sign method."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from isoloss.ensemble.attacks._attack import (
    Loss,
    Range,
    check_inputs,
    clipped,
    input_gradient,
    radius_of,
    summed_cross_entropy,
)
from isoloss.ensemble.attacks._ball import BALLS, check_norm


@dataclass(frozen=True)
class FGSM:
    r"""One step along the steepest direction, as long as allowed.

    .. math:: x' = \mathrm{clip}(x + s\,\mathrm{sign}\,\nabla_x L) \;(\ell_\infty), \qquad
        x' = \mathrm{clip}(x + s\,\nabla_x L / |\nabla_x L|) \;(\ell_2)

    The gradient does not depend on the strength s. For a linear model and one logit it is the worst change there is.

    Attributes:
        norm: "linf" or "l2".
        valid: Smallest and largest value of inputs, numbers or tensors; None for any.
        loss: Of outputs and targets, summed over samples.

    References:
        Goodfellow et al. (2015), Explaining and harnessing adversarial examples, section 4.
    """

    norm: Literal["linf", "l2"] = "linf"
    valid: Range | None = (0.0, 1.0)
    loss: Loss = summed_cross_entropy

    name: ClassVar[str] = "fgsm"

    def __post_init__(self) -> None:
        check_norm("FGSM", self.norm)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, strength: float | Tensor) -> Tensor:
        """See `Attack`."""
        check_inputs("FGSM", x, strength, self.valid)
        direction = BALLS[self.norm].steepest(input_gradient(model, x, y, self.loss))
        return clipped(x + radius_of(strength, x) * direction, self.valid)
