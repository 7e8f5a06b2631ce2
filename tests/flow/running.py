"""Networks of every family, found by `find`, small enough that their flow takes a second."""

import torch
from torch import Tensor, nn

import isoloss
from isoloss import flow
from networks import mlp


class HeadAttention(nn.Module):
    """Self-attention with biases and a residual stream."""

    def __init__(self, width: int = 6, heads: int = 2):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        scores = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)
        return x + self.out((scores @ v).transpose(1, 2).flatten(2))


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.5), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(8, 2)
    )


NETS = {
    "linear": (lambda: mlp(4, 3, 3, 2, activation=nn.Identity), (5, 4)),
    "ReLU": (lambda: mlp(4, 5, 2, activation=nn.ReLU), (3, 4)),
    "LeakyReLU": (lambda: mlp(4, 5, 2, activation=lambda: nn.LeakyReLU(0.2)), (3, 4)),
    "convolutional": (convolutional, (2, 2, 5, 5)),
    "attention": (HeadAttention, (2, 3, 6)),
}


def found(name: str):
    """The network, its symmetries, and a loss on fixed data."""
    torch.manual_seed(1)
    build, shape = NETS[name]
    model, x = build(), torch.randn(shape, dtype=torch.float64)
    symmetries = isoloss.find(model, x.float())
    target = torch.randn_like(model.double()(x))
    return model, symmetries, lambda m: (m(x) - target).square().sum() / 2


def flowed(name: str, t: float = 0.3, rtol: float = 1e-9):
    """The same with the trajectory of its flow."""
    model, symmetries, loss = found(name)
    return model, symmetries, flow.gradient_flow(loss, model, t, rtol=rtol, atol=1e-3 * rtol)
