"""Linear maps with translations."""

from torch import Tensor
from torch.nn.functional import pad

from isoloss.discovery.actions._action import Action, applied
from isoloss.discovery.actions._generators import AffineGenerators, Generators


class Affine(Action):
    r""":math:`a(g, \theta) = A \theta + b`, g the matrix of A and b with a last row (0, ..., 0, 1).

    What biases of layers between linear maps need, and what softmax does not see.
    """

    def __init__(self, params: int, data: int):
        super().__init__(params, data)
        self.size = params + 1

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`."""
        return applied(g, pad(theta, (0, 1), value=1.0))[:, :-1]

    def generators(self, count: int) -> Generators:
        """Matrices whose last row is zero."""
        return AffineGenerators(count, self.size)
