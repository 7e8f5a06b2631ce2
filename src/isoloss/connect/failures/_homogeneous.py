"""Two layers with a homogeneous activation: minima whose straight line rises as high as one likes."""

from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor

from isoloss._checks import is_size


@dataclass(frozen=True, eq=False)
class HomogeneousRegression:
    r"""The loss of a network that ends in a layer with a homogeneous activation, at a minimum of value 0.

    .. math:: L(W_1, W_2) = \lVert Y - W_2\, \sigma(W_1 F) \rVert_F^2, \qquad \sigma(z) = z_+^k - s\, (-z)_+^k

    F stands for whatever the layers below compute. Then :math:`\sigma(cz) = c^k \sigma(z)` for c > 0, so that
    :math:`(m W_1, m^{-k} W_2)` is a minimum for every m > 0. Y is what the network computes at `minimum`.

    Args:
        first: W_1, shape (h, i), of the minimum.
        second: W_2, shape (o, h).
        inputs: F, shape (i, samples).
        degree: k, positive.
        slope: s, of the negative half: 0 for ReLU, 1 for an odd function.

    Raises:
        ValueError: If the degree is not positive, the shapes do not fit, or Y is zero.

    References:
        Dissertation, Eqs. (3.3) and (B.4). Differs: "for all c" there leaves out ReLU and LeakyReLU; positive c
        are all that the proofs use.
    """

    first: Tensor = field(repr=False)
    second: Tensor = field(repr=False)
    inputs: Tensor = field(repr=False)
    degree: float = 1.0
    slope: float = 0.1

    def __post_init__(self) -> None:
        if not is_size(self.degree) or self.degree == 0:
            raise ValueError(
                f"HomogeneousRegression: degree must be positive; got {self.degree!r}; 1 is a LeakyReLU."
            )
        if self.first.shape[0] != self.second.shape[1] or self.first.shape[1] != self.inputs.shape[0]:
            raise ValueError(
                "HomogeneousRegression: shapes must be (h, i), (o, h), (i, samples); got "
                f"{tuple(self.first.shape)}, {tuple(self.second.shape)}, {tuple(self.inputs.shape)}."
            )
        if not bool(self.target.abs().max() > 0):
            raise ValueError(
                "HomogeneousRegression: the target Y must not be zero; got weights that compute zero; draw others."
            )

    @classmethod
    def random(
        cls,
        inputs: int = 3,
        hidden: int = 4,
        outputs: int = 2,
        samples: int = 5,
        degree: float = 1.0,
        slope: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> "HomogeneousRegression":
        """A problem with Gaussian weights and inputs, float64."""

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        return cls(draw(hidden, inputs), draw(outputs, hidden), draw(inputs, samples), degree, slope)

    @property
    def minimum(self) -> dict[str, Tensor]:
        """A point where the loss is 0."""
        return {"first": self.first, "second": self.second}

    @property
    def units(self) -> Tensor:
        """The activations at the minimum, shape (h, samples)."""
        return self.activation(self.first @ self.inputs)

    @property
    def target(self) -> Tensor:
        """Y, shape (o, samples)."""
        return self.second @ self.units

    def activation(self, z: Tensor) -> Tensor:
        """The activation."""
        return z.clamp_min(0) ** self.degree - self.slope * (-z).clamp_min(0) ** self.degree

    def __call__(self, point: dict[str, Tensor]) -> Tensor:
        """The loss at parameters by name."""
        outputs = point["second"] @ self.activation(point["first"] @ self.inputs)
        return (self.target - outputs).square().sum()

    def moved(self, m: float) -> dict[str, Tensor]:
        """The minimum :math:`(m W_1, m^{-k} W_2)`."""
        if not is_size(m) or m == 0:
            raise ValueError(f"HomogeneousRegression.moved: m must be positive; got {m!r}; 1 moves nothing.")
        return {"first": m * self.first, "second": m**-self.degree * self.second}

    def between(self, alpha: Tensor, m: float) -> Tensor:
        r"""The loss on the line to `moved(m)` in closed form.

        .. math:: L = (\varphi - 1)^2 \lVert Y \rVert^2, \qquad
            \varphi = (1 - \alpha + \alpha m^{-k})(1 - \alpha + \alpha m)^k \ge 1

        The weighted means are at least :math:`m^{-k \alpha}` and :math:`m^{k \alpha}`: the product is at least 1.

        References:
            Dissertation, Eq. (B.5); that it is at least 1 is ours.
        """
        k = self.degree
        factor = (1 - alpha + alpha * m**-k) * (1 - alpha + alpha * m) ** k
        return (factor - 1).square() * self.target.square().sum()


def unbounded_barrier(
    problem: HomogeneousRegression, height: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    r"""Two minima, joined by minima, with a point of loss above any height half way between them (Prop. 3.3.3).

    .. math:: m = \Bigl( 2^{k+1} \bigl( \sqrt b / \lVert Y \rVert + 1 \bigr) \Bigr)^{1/k}: \qquad
        \varphi(\tfrac12) = 2^{-(k+1)} (1 + m^{-k})(1 + m)^k > 2^{-(k+1)} m^k = \sqrt b / \lVert Y \rVert + 1

    Args:
        problem: The loss.
        height: b, not negative.

    References:
        Dissertation, Proposition 3.3.3. Differs: the proof takes :math:`(2^{k+1}(\ldots) - 1)^k`, which for degrees
        below 1 stays below the height (a test has the numbers; its Eq. (B.7) asks for the exponent -1/k), and joins
        the two by a line, whose loss is not 0; the curve is :math:`(m^t W_1, m^{-kt} W_2)`.
    """
    _check_height("unbounded_barrier", height)
    k, norm = problem.degree, float(torch.linalg.matrix_norm(problem.target))
    m = (2 ** (k + 1) * (sqrt(height) / norm + 1)) ** (1 / k)
    return problem.minimum, problem.moved(m)


def unbounded_barrier_permuted(
    problem: HomogeneousRegression, height: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    r"""Two minima with a point of loss above any height half way, however the hidden units are permuted (Prop. 3.3.4).

    Half way to the permuted minimum :math:`(m P^{-1} W_1, m^{-k} W_2 P)` the outputs are, for large m,
    :math:`2^{-(k+1)} m^k\, W_2 P^{-1} \sigma(W_1 F)` to leading order. As there are finitely many P, and none of these
    products vanishes, some m is large enough for all; it is doubled until that is so.

    Args:
        problem: The loss, with at most 8 hidden units: all permutations are tried.
        height: b, not negative.

    Raises:
        ValueError: If there are more hidden units, or a permutation sends the activations into the null space of W_2.

    References:
        Dissertation, Proposition 3.3.4. Differs: the factors 1/4 in Eqs. (B.10) to (B.12) are
        :math:`2^{-(k+1)}`, and 3/4 Y should be Y less bounded terms; the statement holds.
    """
    where = "unbounded_barrier_permuted"
    _check_height(where, height)
    if problem.first.shape[0] > 8:
        raise ValueError(
            f"{where}: all permutations are tried, so there must be at most 8 hidden units; "
            f"got {problem.first.shape[0]}; make the problem smaller."
        )
    orders = permutations(problem.first.shape[0])
    leading = torch.linalg.matrix_norm(problem.second @ problem.units[orders])
    if not bool((leading > 1e-12 * torch.linalg.matrix_norm(problem.target)).all()):
        raise ValueError(
            f"{where}: no permutation may send the activations into the null space of the last layer; "
            "got one that does; draw other weights."
        )
    m = 2.0
    while float(permuted_losses(problem, m).min()) <= height:
        m *= 2
    return problem.minimum, problem.moved(m)


def permuted_losses(problem: HomogeneousRegression, m: float, alpha: float = 0.5) -> Tensor:
    r"""The loss on the line from the minimum to `moved(m)` with its hidden units permuted, for every permutation.

    Args:
        problem: The loss.
        m: The factor.
        alpha: Where on the line.

    Returns:
        Shape (h!,), in the order of `permutations(h)`.
    """
    orders, there = permutations(problem.first.shape[0]), problem.moved(m)
    first = (1 - alpha) * problem.first + alpha * there["first"][orders]
    second = (1 - alpha) * problem.second + alpha * there["second"].mT[orders].mT
    outputs = second @ problem.activation(first @ problem.inputs)
    return (problem.target - outputs).square().sum((-2, -1))


def permutations(n: int) -> Tensor:
    """All permutations of n things, shape (n!, n), in lexicographic order."""
    found = torch.zeros(1, 0, dtype=torch.int64)
    for k in range(1, n + 1):
        first = torch.arange(k).repeat_interleave(len(found)).unsqueeze(1)
        rest = found.repeat(k, 1)
        found = torch.cat([first, rest + (rest >= first).long()], 1)
    return found


def bounded_barrier(problem: HomogeneousRegression, limit: float) -> float:
    r"""A bound on the loss on all lines to minima of this orbit whose weights have norms below the limit (Prop. 3.3.6).

    .. math:: b = \Bigl( \max\bigl(1, \tfrac{c}{\lVert W_2 \rVert}\bigr)
        \max\bigl(1, \tfrac{c}{\lVert W_1 \rVert}\bigr)^k - 1 \Bigr)^2 \lVert Y \rVert^2

    Args:
        problem: The loss.
        limit: c, of the Frobenius norms :math:`\lVert m W_1 \rVert` and :math:`\lVert m^{-k} W_2 \rVert`.

    References:
        Dissertation, Proposition 3.3.6, which shows that there is a bound; its value is ours.
    """
    _check_height("bounded_barrier", limit)
    one, two = (float(torch.linalg.matrix_norm(w)) for w in (problem.first, problem.second))
    factor = max(1.0, limit / two) * max(1.0, limit / one) ** problem.degree
    return (factor - 1) ** 2 * float(problem.target.square().sum())


def _check_height(where: str, height: float) -> None:
    if not is_size(height):
        raise ValueError(f"{where}: the bound must be a number that is not negative; got {height!r}.")
