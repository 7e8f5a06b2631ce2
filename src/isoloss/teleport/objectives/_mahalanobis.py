"""The squared gradient norm in the metric of an adaptive optimizer: the rate at which its own flow lowers the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from isoloss.teleport._derivatives import complete, gradients, inner
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic, widen
from isoloss.teleport.objectives._gradient_norm import relative
from isoloss.teleport.objectives._objective import check_lower
from isoloss.teleport.objectives._preconditioner import divides_by_nothing, preconditioner


@dataclass(frozen=True)
class Mahalanobis:
    r"""Squared Mahalanobis norm of the gradient, in the metric of Adagrad, RMSprop, Adadelta, Adam and its kin.

    .. math:: -\frac{dL}{dt} = \eta \lVert \nabla L \rVert_A^2, \qquad
        A = \operatorname{diag}(\sqrt{G_{t+1}} + \epsilon)^{-1}

    G is the optimizer's second moment, read from its state; Adamax has the largest of its gradients in the place of the
    root, Adadelta multiplies by the root mean square of its steps, RAdam by its rectification.

    Two choices say what becomes of A in a jump; take the one that agrees with the `second_moments` of `Teleport`. Both
    are functions of transported gradients, and cost no pass:

    - "keep": A stays where it is. Entries are multiplied by :math:`s^{-2c}`, as those of the plain squared norm.
    - "transport": G moves like squared gradients, so that A grows by :math:`s^c`, and entries are multiplied by
      :math:`s^{-c}` only; eps is neglected. Then a scaling changes little: adaptive methods undo scalings.

    Only scalings (and signs and permutations) keep a weighted sum of entries one; matrices mix the entries and need
    a solver that evaluates. Call it after `unscale_` if a GradScaler is used: the state knows unscaled gradients.
    SGD has A = I, and RAdam in its first steps, in which nothing but "keep" is left. Momentum (NAdam's, too) and weight
    decay are not part of A.

    Attributes:
        lower: Go where it is small instead.
        second_moments: "keep" or "transport".

    References:
        Dissertation, Eq. (5.7) and section 5.4.1. Differs: squared, which the text leaves out, and eps as in torch.
    """

    lower: bool = False
    second_moments: Literal["keep", "transport"] = "keep"

    name = "Mahalanobis norm"
    radius = 0.1
    passes = 0
    needs_gradients = True
    needs_loss = True

    def __post_init__(self) -> None:
        check_lower(self)
        if self.second_moments not in ("keep", "transport"):
            raise ValueError(
                f"Mahalanobis: second_moments must be keep or transport; got {self.second_moments!r}; "
                "take what Teleport does with them (keep, too, for reset)."
            )

    @property
    def evaluable(self) -> bool:
        """Transported, A depends on the group element and not on the parameters."""
        return self.second_moments == "keep"

    def scaling_form(self, point: Point) -> Quadratic:
        """The weighted sum of squares of the gradients here.

        Raises:
            ValueError: If A is to be transported and is the identity, as in the first steps of RAdam.
        """
        if self.second_moments == "transport" and divides_by_nothing(point):
            raise ValueError(
                "Mahalanobis: what is transported must be divided by; got RAdam in its first steps, which are those of "
                "SGD; choose second_moments='keep' until its variance is rectified."
            )
        roots = {n: a.sqrt() * widen(point.gradients[n]) for n, a in preconditioner(point).items()}
        power = -1 if self.second_moments == "keep" else -0.5
        return Quadratic(roots, power, relative(point.rates))

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The same sum at other parameters, of the gradients of `point.loss`, with A as it is here.

        Raises:
            ValueError: If A is to be transported: where it goes depends on the group element, not on the parameters.
        """
        if self.second_moments == "transport":
            raise ValueError(
                "Mahalanobis: the transported norm must be asked of a solver that knows the group element; got "
                "evaluate; choose TransportedAscent, or second_moments='keep'."
            )
        found = gradients(point.loss_for(self.name), complete(point, tensors), list(point.gradients))
        weights = preconditioner(point)
        return inner({n: weights[n] * widen(g) for n, g in found.items()}, found, relative(point.rates))
