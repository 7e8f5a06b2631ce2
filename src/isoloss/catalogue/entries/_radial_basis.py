"""Radial basis functions: the components can be renamed."""

import torch
from torch import Tensor, nn

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Problem, Tensors, gaussian, normal
from isoloss.groups import Permutation


class RadialBasis(nn.Module):
    """The sum of w exp(-(|x - c| / b)^2) over k centres."""

    def __init__(self, k: int, n: int):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(k)), nn.Parameter(torch.rand(k) + 0.5)
        self.c = nn.Parameter(torch.randn(k, n))

    def forward(self, x: Tensor) -> Tensor:
        """One number per sample."""
        distances = (x.unsqueeze(-2) - self.c).norm(dim=-1)
        return ((-((distances / self.b) ** 2)).exp() * self.w).sum(-1, keepdim=True)


def act(g: Tensor, theta: Tensors) -> Tensors:
    """Component i becomes the one that g names."""
    return {name: theta[name][g] for name in ("w", "b", "c")}


def example(k: int = 4, n: int = 3) -> Example:
    """Components k, inputs n."""
    model = RadialBasis(k, n).double()
    problem = Problem.of(model, gaussian(n))

    def draw(generator: torch.Generator) -> Tensors:
        return {
            "w": normal((k,), generator),
            "b": 0.5 + normal((k,), generator).abs(),
            "c": normal((k, n), generator),
        }

    return Example(Problem(problem.network, draw, gaussian(n)), Permutation(k), act, model=model)


RADIAL_BASIS = Entry(
    name="Radial basis function",
    source="Ex. 1.2.10, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"\sum_i w_i\, \varphi(\lVert x - c_i \rVert / b_i)",
    group="S_k",
    action=r"(w_{\pi^{-1}(i)},\ b_{\pi^{-1}(i)},\ c_{\pi^{-1}(i)})",
    dimension="0",
    limits=r"The example has a Gaussian $\varphi$.",
    example=example,
)
