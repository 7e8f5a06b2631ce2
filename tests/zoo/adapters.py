"""Low-rank adapters beside frozen and trainable weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import Built, entry, leaky, linear, permutation, scaling, translation


class LoRA(nn.Module):
    """W x + b + B A x"""

    def __init__(self, i: int, o: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(i, o)
        self.a, self.b = nn.Parameter(torch.randn(rank, i)), nn.Parameter(torch.randn(o, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0.5 * F.linear(F.linear(x, self.a), self.b)


def adapted() -> Built:
    return nn.Sequential(LoRA(4, 5, 2), nn.LeakyReLU(0.3), LoRA(5, 3, 2)), torch.randn(2, 4)


ABSORBED = {
    "the base absorbs any change of the adapter: all of A and B of layer 0": 2 * (4 + 5),
    "and of layer 2": 2 * (5 + 3),
    "R+ of the hidden units": 5,
}
PAIRS = [linear(2, "0.a", "0.b"), linear(2, "2.a", "2.b")]
HIDDEN = ("0.base.weight", "0.base.bias", "0.b", "2.base.weight", "2.a")


@entry(ABSORBED, [*PAIRS, scaling(5, *HIDDEN), permutation(5, *HIDDEN)])
def lora_trainable() -> Built:
    return adapted()


@entry(
    ABSORBED,
    [*PAIRS, scaling(5, *HIDDEN), permutation(5, *HIDDEN)],
    frozen=("0.base.weight", "0.base.bias", "2.base.weight", "2.base.bias"),
)
def lora_frozen() -> Built:
    """Among the trainable parameters alone only GL(2) of each pair: 4 + 4 dimensions."""
    return adapted()


@entry(
    {
        "the base absorbs the whole adapter": 2 * (7 + 3),
        "GL of the embedding, translation into the bias": 9 + 3,
    },
    [linear(2, "a", "b"), linear(3, "emb.weight", "out.weight", "b")],
    beyond={"GL and translation act on the sum emb + A B alone": 0},
    vocabulary=7,
)
def lora_embedding() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.out = nn.Embedding(7, 3), nn.Linear(3, 5)
            self.a, self.b = nn.Parameter(torch.randn(7, 2)), nn.Parameter(torch.randn(2, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.emb(x) + F.embedding(x, self.a) @ self.b)

    return Net(), torch.randint(7, (2, 4))


@entry(
    {"the bottleneck's R+": 2, "GL of the stream and its translations": 16 + 4 + 4},
    [
        linear(4, "inp.weight", "adapter.0.weight", "adapter.2.weight", "out.weight"),
        scaling(2, "adapter.0.weight"),
    ],
)
def houlsby_adapter() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.out = nn.Linear(5, 4), nn.Linear(4, 5)
            self.adapter = nn.Sequential(nn.Linear(4, 2), nn.LeakyReLU(0.3), nn.Linear(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.inp(x)
            return self.out(x + self.adapter(x))

    return Net(), torch.randn(2, 5)


@entry(
    {"two parallel linear maps: one absorbs the other": 5 * 4 + 5, "R+ of the hidden units": 5},
    [translation("a.bias", "b.bias"), scaling(5, "a.weight", "a.bias", "b.weight", "b.bias", "out.weight")],
)
def parallel_linear() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(leaky(self.a(x) + self.b(x)))

    return Net(), torch.randn(2, 4)


@entry(
    {"vectors against the bottleneck (IA3): R+ of each hidden unit in two ways": 5 + 5},
    [
        scaling(5, "ia3"),
        scaling(5, "up.weight", "up.bias"),
        permutation(5, "up.weight", "ia3"),
    ],
)
def ia3() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.ia3 = nn.Linear(3, 5), nn.Linear(5, 4), nn.Parameter(torch.ones(5))

        def forward(self, x: Tensor) -> Tensor:
            return self.down(leaky(self.up(x)) * self.ia3)

    return Net(), torch.randn(2, 3)
