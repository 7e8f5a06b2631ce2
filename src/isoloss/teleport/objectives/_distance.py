"""The distance to given weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from isoloss.teleport._derivatives import complete, inner
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import widen
from isoloss.teleport.objectives._objective import check_lower


@dataclass(frozen=True)
class Distance:
    r"""Squared distance to given weights, lowered to come to the point of the orbit that is nearest to them.

    .. math:: \min_g \sum_p \lVert (g \cdot w)_p - w^*_p \rVert^2

    Two networks that compute the same may lie far apart; this is what alignment and merging minimize, and what keeps
    a fine-tuned model near the one it came from. A function of the parameters: it costs no pass.

    Attributes:
        target: The weights :math:`w^*` by name, a state_dict; parameters that it leaves out do not count.
        lower: False goes away from them.
    """

    target: Mapping[str, Tensor] = field(repr=False)
    lower: bool = True

    name = "squared distance"
    radius = 1.0
    passes = 0
    needs_gradients = False

    def __post_init__(self) -> None:
        check_lower(self)
        whole = isinstance(self.target, Mapping) and self.target
        wrong = (
            [f"{t!r} for {n}" for n, t in self.target.items() if not isinstance(t, Tensor)] if whole else []
        )
        if not whole or wrong:
            got = wrong[0] if wrong else "no tensors" if self.target == {} else type(self.target).__name__
            raise ValueError(
                f"Distance: the target must be tensors by name; got {got}; pass model.state_dict()."
            )

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The squared distance at other parameters.

        Raises:
            ValueError: If the target names none of the parameters, or has one in another shape.
        """
        there = complete(point, tensors)
        names = [n for n in point.rates if n in self.target]
        if not names:
            raise ValueError(
                f"Distance: the target must name parameters of the model; got {', '.join(list(self.target)[:4])}; "
                f"the names are those of model.named_parameters(): {', '.join(list(point.rates)[:4])}."
            )
        for n in names:
            if self.target[n].shape != there[n].shape:
                raise ValueError(
                    f"Distance: the target must have the shapes of the parameters; got {tuple(self.target[n].shape)} "
                    f"for {n} of shape {tuple(there[n].shape)}; pass weights of the same architecture."
                )
        apart = {n: widen(there[n]) - self.target[n].detach().to(widen(there[n])) for n in names}
        return inner(apart, apart)
