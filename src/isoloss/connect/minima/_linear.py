"""The minima of linear regression with invertible weights, l layers deep."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss._checks import is_whole
from isoloss.connect._factors import factors
from isoloss.connect.minima._level import shortest
from isoloss.groups import GeneralLinear


@dataclass(frozen=True, eq=False)
class LinearRegression:
    r"""The loss :math:`\lVert Y - W_l \cdots W_1 X \rVert_F^2` with square invertible data.

    Its minima are homeomorphic to :math:`GL_h^{l-1}`, by :math:`(W_1 X, W_2, \dots, W_{l-1})` (Prop. 3.2.1), so they
    have :math:`2^{l-1}` components, told apart by the signs of the determinants (Cor. 3.2.2). Points are flat vectors
    of all weights, shape (*batch, l h^2).

    Args:
        inputs: X, shape (h, h), float64.
        targets: Y, shape (h, h).
        layers: l, at least 2.

    Raises:
        ValueError: If X or Y is not square and invertible, or there are too few layers.

    References:
        Dissertation, Eq. (3.1), Proposition 3.2.1 and Corollary 3.2.2.
    """

    inputs: Tensor
    targets: Tensor
    layers: int = 3

    def __post_init__(self) -> None:
        if not is_whole(self.layers, least=2):
            raise ValueError(
                f"LinearRegression: layers must be at least 2; got {self.layers!r}; l of Eq. (3.1)."
            )
        group = GeneralLinear(self.inputs.shape[-1])
        for name, m in (("inputs", self.inputs), ("targets", self.targets)):
            if tuple(m.shape) != group.element_shape or not group.contains(m):
                raise ValueError(
                    f"LinearRegression: {name} must be square and invertible, (h, h); got {tuple(m.shape)} "
                    f"of rank {int(torch.linalg.matrix_rank(m))}; Proposition 3.2.1 assumes full rank."
                )

    @property
    def width(self) -> int:
        """The width h of all layers."""
        return self.inputs.shape[-1]

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.layers * self.width**2

    def weights(self, points: Tensor) -> Tensor:
        """The weights of flat points, shape (*batch, l, h, h), W_1 first."""
        return points.unflatten(-1, (self.layers, self.width, self.width))

    def residual(self, point: Tensor) -> Tensor:
        """The entries of W_l ... W_1 X - Y, shape (*batch, h^2)."""
        product = self.inputs
        for w in self.weights(point).unbind(-3):
            product = w @ product
        return (product - self.targets).flatten(-2)

    def __call__(self, points: Tensor) -> Tensor:
        """The loss, shape (*batch)."""
        return self.residual(points).square().sum(-1)

    def minimum(self, elements: Tensor) -> Tensor:
        r"""The minimum that belongs to elements of the group.

        .. math:: (g_1, \dots, g_{l-1}) \mapsto (g_1 X^{-1}, g_2, \dots, g_{l-1}, Y (g_{l-1} \cdots g_1)^{-1})

        Args:
            elements: Invertible matrices, shape (*batch, l - 1, h, h).

        References:
            Dissertation, Eq. (B.1), whose product of the inverses reads :math:`g_1^{-1} \cdots g_{l-1}^{-1}`.
        """
        first = torch.linalg.solve(self.inputs, elements[..., 0, :, :], left=False)
        product = elements[..., 0, :, :]
        for k in range(1, self.layers - 1):
            product = elements[..., k, :, :] @ product
        last = torch.linalg.solve(product, self.targets.expand_as(product), left=False)
        weights = torch.cat([first.unsqueeze(-3), elements[..., 1:, :, :], last.unsqueeze(-3)], -3)
        return weights.flatten(-3)

    def elements(self, points: Tensor) -> Tensor:
        """Its inverse, (W_1 X, W_2, ..., W_{l-1}), shape (*batch, l - 1, h, h)."""
        weights = self.weights(points)
        first = (weights[..., 0, :, :] @ self.inputs).unsqueeze(-3)
        return torch.cat([first, weights[..., 1:-1, :, :]], -3)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Random minima, shape (count, l h^2): Gaussian matrices under the homeomorphism, both signs alike.

        Twice as many are drawn and the shorter half is kept: far out the sheets are thin and lie close together.
        """
        shape = (2 * count, self.layers - 1, self.width, self.width)
        return shortest(self.minimum(torch.randn(shape, dtype=torch.float64, generator=generator)), count)

    def invariant(self, points: Tensor) -> Tensor:
        """The signs of the determinants of W_1 X, W_2, ..., W_{l-1}, shape (*batch, l - 1)."""
        return torch.linalg.det(self.elements(points)).sign().long()

    def curve(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        r"""Points of the minimum between two minima of one component, :math:`\exp(t \log(g' g^{-1})) g` layer by layer.

        Where a quotient has no real logarithm, it has two factors that do; see `isoloss.connect.factors`.

        Args:
            a: One end, shape (l h^2,).
            b: The other.
            t: Times, shape (n,).

        Raises:
            ValueError: If the ends lie in different components.
        """
        group = GeneralLinear(self.width)
        one, two = self.elements(a), self.elements(b)
        quotients = torch.linalg.solve(one, two, left=False)
        moved = []
        for g, q in zip(one, quotients, strict=True):
            path = g.expand(len(t), *g.shape)
            for m in factors(group, q, "same", "LinearRegression.curve").algebra:
                path = group.exp(t[:, None, None] * m) @ path
            moved.append(path)
        return self.minimum(torch.stack(moved, 1))

    def joined(self, a: Tensor, b: Tensor) -> Tensor:
        """Pairs that `curve` joins: same signs, shape (P,)."""
        return (self.invariant(a) == self.invariant(b)).all(-1)

    def aligning(self, a: Tensor, b: Tensor) -> Tensor:
        r"""Permutations that bring one minimum into the component of another: l - 1, even or odd as needed.

        .. math:: \operatorname{sgn} P_i = \prod_{j \le i} \operatorname{sgn} \det g_j \det g'_j

        Args:
            a: The minimum to be permuted, shape (l h^2,).
            b: The other.

        Returns:
            Indices, shape (l - 1, h): the identity, or the transposition of the first two.

        Raises:
            ValueError: If the width is 1, where there is no odd permutation.

        References:
            Dissertation, Proposition 3.3.2.
        """
        if self.width < 2:
            raise ValueError(
                "LinearRegression.aligning: one neuron cannot be permuted (Proposition 3.3.2 needs h >= 2); got "
                "width 1; flip a sign instead."
            )
        odd = (self.invariant(a) * self.invariant(b)).cumprod(0) < 0
        identity = torch.arange(self.width)
        swap = identity.clone()
        swap[:2] = swap[:2].flip(0)
        return torch.where(odd.unsqueeze(-1), swap, identity)

    def permuted(self, point: Tensor, permutations: Sequence[Tensor] | Tensor) -> Tensor:
        r"""The point :math:`(P_1 W_1, P_2 W_2 P_1^{-1}, \dots, W_l P_{l-1}^{-1})`.

        Args:
            point: Shape (l h^2,).
            permutations: One per hidden layer, as indices.
        """
        moved = list(self.weights(point).unbind(0))
        for k, p in enumerate(permutations):
            moved[k], moved[k + 1] = moved[k][p], moved[k + 1][:, p]
        return torch.stack(moved).flatten()
