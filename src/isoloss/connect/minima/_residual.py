"""The minima of a residual network whose weights are numbers, or small matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.connect.minima._level import shortest


@dataclass(frozen=True, eq=False)
class ResidualRegression:
    r"""The loss :math:`\lVert Y - W_3 (W_2 W_1 X + \varepsilon X) \rVert_F^2`, all matrices square.

    With width 1 its minima have 4 components without the skip connection and 3 with it (Prop. 3.2.3): W_3 follows from
    the others, and what is left of the plane of (W_1, W_2) without the hyperbola :math:`W_1 W_2 = -\varepsilon` has 3
    parts, without the two axes (epsilon = 0) 4. From width 2 on there are 2, told apart by the sign of
    :math:`\det W_3`: docs/connect.md has the argument. Points are flat vectors (W_1, W_2, W_3), shape (*batch, 3 h^2).

    Args:
        inputs: X, shape (h, h), invertible, float64.
        targets: Y, shape (h, h), invertible.
        skip: epsilon.

    Raises:
        ValueError: If X or Y is not invertible.

    References:
        Dissertation, Eq. (3.2) and Proposition 3.2.3. The count for larger widths is ours.
    """

    inputs: Tensor
    targets: Tensor
    skip: float = 1.0

    def __post_init__(self) -> None:
        for name, m in (("inputs", self.inputs), ("targets", self.targets)):
            if m.dim() != 2 or m.shape != self.inputs.shape or int(torch.linalg.matrix_rank(m)) < m.shape[-1]:
                raise ValueError(
                    f"ResidualRegression: {name} must be square and invertible, (h, h); got {tuple(m.shape)}; "
                    "Proposition 3.2.3 assumes X and Y different from 0."
                )

    @property
    def width(self) -> int:
        """The width h."""
        return self.inputs.shape[-1]

    @property
    def size(self) -> int:
        """Number of weights."""
        return 3 * self.width**2

    def weights(self, points: Tensor) -> Tensor:
        """The weights of flat points, shape (*batch, 3, h, h), W_1 first."""
        return points.unflatten(-1, (3, self.width, self.width))

    def residual(self, point: Tensor) -> Tensor:
        """The entries of the outputs less Y, shape (*batch, h^2)."""
        w1, w2, w3 = self.weights(point).unbind(-3)
        return (w3 @ (w2 @ w1 @ self.inputs + self.skip * self.inputs) - self.targets).flatten(-2)

    def __call__(self, points: Tensor) -> Tensor:
        """The loss, shape (*batch)."""
        return self.residual(points).square().sum(-1)

    def minimum(self, first: Tensor, second: Tensor) -> Tensor:
        r"""The minimum with given W_1, W_2, (*batch, h, h): :math:`W_3 = Y ((W_2 W_1 + \varepsilon) X)^{-1}`."""
        eye = torch.eye(self.width, dtype=first.dtype, device=first.device)
        inner = (second @ first + self.skip * eye) @ self.inputs
        last = torch.linalg.solve(inner, self.targets.expand_as(inner), left=False)
        return torch.stack([first, second, last], -3).flatten(-3)

    def sample(self, count: int, generator: torch.Generator | None = None, scale: float = 2.0) -> Tensor:
        """Random minima, shape (count, 3 h^2): Gaussian W_1 and W_2 of the scale, without the longest quarter."""
        shape = (2, count * 4 // 3 + 1, self.width, self.width)
        first, second = scale * torch.randn(shape, dtype=torch.float64, generator=generator)
        return shortest(self.minimum(first, second), count)

    def invariant(self, points: Tensor) -> Tensor:
        r"""What tells components apart, shape (*batch, 2).

        The sign of :math:`\det(W_2 W_1 + \varepsilon)`, by which that of W_3 is known; and for width 1 the sign of W_1,
        where nothing joins the two: without the skip connection everywhere, with it where the first sign is not
        that of epsilon.
        """
        w1, w2, _ = self.weights(points).unbind(-3)
        eye = torch.eye(self.width, dtype=w1.dtype, device=w1.device)
        side = torch.linalg.det(w2 @ w1 + self.skip * eye).sign().long()
        if self.width > 1:
            sign = torch.linalg.det(w1).sign().long() if self.skip == 0 else torch.zeros_like(side)
            return torch.stack([side, sign], -1)
        apart = (
            (side != (1 if self.skip > 0 else -1)) if self.skip else torch.ones_like(side, dtype=torch.bool)
        )
        return torch.stack([side, torch.where(apart, w1[..., 0, 0].sign().long(), 0)], -1)
