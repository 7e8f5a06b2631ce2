"""What came of teleporting runs."""

from dataclasses import dataclass

from torch import Tensor

from isoloss.learn._tensors import Tensors


@dataclass(frozen=True, eq=False)
class Landing:
    """Where m runs were teleported at one step.

    Attributes:
        parameters: There, (m, *shape) by name.
        gains: Gradient norm there over that before, (m,); 1 where nothing moved.
        changes: Relative change of the loss, (m,).
        sizes: `group.norm` of log g, the largest over the actions, (m,); 0 where nothing moved.
    """

    parameters: Tensors
    gains: Tensor
    changes: Tensor
    sizes: Tensor
