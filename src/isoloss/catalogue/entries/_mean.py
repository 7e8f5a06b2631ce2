"""Changes of the weights that data do not see on average."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Problem, Tensors, normal
from isoloss.groups import GeneralLinear


@dataclass(frozen=True)
class Stabilizer(GeneralLinear):
    """The invertible matrices A with A v = v.

    Attributes:
        v: The vector, not zero.
    """

    v: tuple[float, ...]

    @property
    def name(self) -> str:
        """GL(n) with the vector that stays."""
        return f"GL({self.n}; v)"

    @property
    def dim(self) -> int:
        """The first n - 1 columns are free, in a basis that ends with v."""
        return self.n * (self.n - 1)

    def project(self, a: Tensor) -> Tensor:
        """The nearest a with a v = 0."""
        v = torch.tensor(self.v, dtype=a.dtype, device=a.device)
        return (
            a - torch.outer(a @ v, v) / (v @ v) if a.dim() == 2 else torch.stack([self.project(b) for b in a])
        )

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether g is invertible and keeps v, up to 100 roundings by default."""
        if not super().contains(g):
            return False
        v = torch.tensor(self.v, dtype=g.dtype, device=g.device)
        limit = 100 * torch.finfo(g.dtype).eps if tolerance is None else tolerance
        return bool(((g @ v - v).norm(dim=-1) <= limit * v.norm()).all())

    def basis(self, *, dtype=None, device=None) -> Tensor:
        """Rows e_i times vectors of an orthonormal basis of the complement of v."""
        v = torch.tensor(self.v, dtype=torch.float64)
        frame = torch.linalg.qr(torch.cat([v[:, None], torch.eye(self.n, dtype=torch.float64)], 1)).Q[:, 1:]
        rows = torch.eye(self.n, dtype=torch.float64)
        found = rows[:, None, :, None] * frame.mT[None, :, None, :]
        return found.flatten(0, 1).to(device, dtype or torch.get_default_dtype())

    def _draw(self, batch: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return self.project(super()._draw(batch, generator))


def act(g: Tensor, theta: Tensors) -> Tensors:
    """The action on the right."""
    return {"W": theta["W"] @ torch.linalg.inv(g)}


def example(m: int = 5, mean: tuple[float, ...] = (1.0, -0.5, 2.0, 0.5)) -> Example:
    """Outputs m; data are normal around a mean, and targets linear in them."""
    n = len(mean)
    target = normal((m, n), torch.Generator().manual_seed(7))

    def residual(theta: Tensors, data: tuple[Tensor, Tensor]) -> Tensor:
        x, y = data
        return x @ theta["W"].mT - y

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.tensor(mean, dtype=torch.float64) + normal((count, n), generator)
        return x, x @ target.mT

    def weights(generator: torch.Generator) -> Tensors:
        return {"W": normal((m, n), generator)}

    return Example(
        Problem(residual, weights, draw, lambda y, data: y.square().sum(-1)), Stabilizer(n, mean), act
    )


MEAN = Entry(
    name="Residual of a linear model",
    source="Ex. 1.3.7",
    kind=Kind.DISTRIBUTION,
    of="network",
    architecture=r"F(W, (x, y)) = W x - y,\ y = W^* x,\ E x = \bar x",
    group=r"\{A \in GL_n(\mathbb{R}) : A \bar x = \bar x\}",
    action="W A^{-1}",
    dimension="n (n - 1)",
    limits=r"The expected residual, not its square: the expected loss $E \lVert F \rVert^2$ changes. Not sample by "
    r"sample. The dimension is for $\bar x \ne 0$; else it is all of $GL_n$.",
    example=example,
)
