"""Low-rank adapters."""

import torch
from torch import Tensor, nn

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Tensors, gaussian
from isoloss.groups import GeneralLinear


class LoRA(nn.Module):
    """The layer (W + U V) x with W frozen, a buffer."""

    weight: Tensor

    def __init__(self, n: int, m: int, r: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(n, m))
        self.U, self.V = nn.Parameter(torch.randn(n, r)), nn.Parameter(torch.randn(r, m))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs, shape (sample, n)."""
        return nn.functional.linear(x, self.weight + self.U @ self.V)


def act(g: Tensor, theta: Tensors) -> Tensors:
    """The product of U and V stays."""
    return {"U": theta["U"] @ torch.linalg.inv(g), "V": g @ theta["V"]}


def example(n: int = 4, m: int = 5, r: int = 2) -> Example:
    """Outputs n, inputs m, rank r."""
    return Example.of(LoRA(n, m, r), gaussian(m), GeneralLinear(r), act)


LORA = Entry(
    name="LoRA",
    source="Ex. 1.2.13",
    kind=Kind.NETWORK,
    of="network",
    architecture="(W + U V)\\, x",
    group=r"GL_r(\mathbb{R})",
    action=r"(U g^{-1},\ g V)",
    dimension="r^2",
    limits="With $W$ frozen. A trainable $W$ takes up any change of $U$ or $V$, which is more.",
    example=example,
)
