"""Whatever a user wants raised or lowered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from isoloss._checks import is_size, is_whole, signature, takes
from isoloss.teleport._derivatives import complete
from isoloss.teleport._point import Point
from isoloss.teleport.objectives._objective import check_flag, check_lower


@dataclass(frozen=True)
class Custom:
    """Any differentiable function of the parameters::

        Custom(lambda point, w: w["0.weight"].abs().sum(), lower=True)
        Custom(lambda point, w: validation_loss(w), lower=True, passes=1)

    Attributes:
        function: Called with the point of the training and all parameters by name; returns a tensor with one number.
            The point has the loss, as `point.loss(w)`, the learning rates and the optimizer's state.
        lower: Is less better?
        name: For reports.
        radius: The default bound on one jump; see `Teleport`.
        passes: Forward and backward passes that one evaluation costs.
        needs_gradients: Does it read `point.gradients`?
    """

    function: Callable[[Point, Mapping[str, Tensor]], Tensor] = field(repr=False)
    lower: bool = False
    name: str = "custom"
    radius: float = 0.1
    passes: int = 0
    needs_gradients: bool = False

    def __post_init__(self) -> None:
        check_lower(self)
        if not callable(self.function):
            raise ValueError(
                f"Custom: function must be called with the point and the parameters; got {self.function!r}; "
                "write Custom(lambda point, w: ...)."
            )
        check_flag(self, "needs_gradients", "True says that the function reads point.gradients")
        if not takes(self.function, 2):
            raise ValueError(
                "Custom: function must take two arguments, the point and all parameters by name; got one with the "
                f"signature {signature(self.function)}; write Custom(lambda point, w: ...)."
            )
        fits = isinstance(self.name, str) and is_size(self.radius) and is_whole(self.passes)
        if not fits:
            raise ValueError(
                "Custom: name must be a text, radius a number that is not negative, passes a whole number; "
                f"got {self.name!r}, {self.radius!r} and {self.passes!r}; the defaults do for most."
            )

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The function at other parameters.

        Raises:
            ValueError: If it returns something else than a tensor with one number.
        """
        value = self.function(point, complete(point, tensors))
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"Custom: the function must return a tensor with one number; got {got}; sum or average it."
            )
        return value.reshape(())
