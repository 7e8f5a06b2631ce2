"""Small networks whose symmetries are known, written down by hand."""

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from isoloss.groups import ComplexScaling, GeneralLinear, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry

PLUS, MINUS = Fraction(1), Fraction(-1)


def mlp(*widths: int, activation=nn.LeakyReLU, bias: bool = True) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        layers += (
            [nn.Linear(a, b, bias=bias), activation()]
            if i < len(widths) - 2
            else [nn.Linear(a, b, bias=bias)]
        )
    return nn.Sequential(*layers)


def hidden(model: nn.Sequential, group, family: str, power: Fraction = PLUS) -> Symmetries:
    """One symmetry per hidden layer of an mlp; power is the degree of homogeneity of the activation."""
    linears = [(str(i), layer) for i, layer in enumerate(model) if isinstance(layer, nn.Linear)]
    found = []
    for (one, first), (two, second) in zip(linears, linears[1:], strict=False):
        slots = [Slot(f"{one}.weight", Block.whole(tuple(first.weight.shape)), (0,), PLUS)]
        if first.bias is not None:
            slots.append(Slot(f"{one}.bias", Block.whole(tuple(first.bias.shape)), (0,), PLUS))
        slots.append(Slot(f"{two}.weight", Block.whole(tuple(second.weight.shape)), (1,), -power))
        found.append(Symmetry(group(first.out_features), tuple(slots), (), family))
    return Symmetries(found, model)


def mlp_symmetries(model: nn.Sequential, power: Fraction = PLUS) -> Symmetries:
    """The scalings of the hidden neurons."""
    return hidden(model, PositiveScaling, "scaling", power)


def linear_symmetries(model: nn.Sequential) -> Symmetries:
    """The invertible matrices between the layers of a linear network."""
    return hidden(model, GeneralLinear, "linear")


class ConvNet(nn.Module):
    """Two convolutions (the second grouped), a BatchNorm in front, a linear head after pooling."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Conv2d(4, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.head = nn.Linear(6 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(self.norm(x)).relu()).relu()
        return self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


def conv_symmetries(model: ConvNet) -> Symmetries:
    """Scalings per channel; the grouped convolution reads channel (group, i), the head reads (channel, pixel)."""
    # Output channel o of a group of three reads channels (o // 3) * 4 + i: the factor differs along two axes.
    grouped = Block((0, 0, 0, 0), (((2, 3), (3, 1)), ((4, 1),), ((3, 1),), ((3, 1),)))
    first = Symmetry(
        PositiveScaling(4),
        (
            Slot("one.weight", Block((0,) * 4, (((2, 4), (4, 1)), ((4, 1),), ((3, 1),), ((3, 1),))), (0, 1)),
            Slot("one.bias", Block((0,), (((2, 4), (4, 1)),)), (0, 1)),
            Slot("two.weight", grouped, (0, 2), MINUS),
        ),
        (2,),
        "scaling",
    )
    second = Symmetry(
        PositiveScaling(6),
        (
            Slot("two.weight", Block.whole((6, 4, 3, 3)), (0,)),
            Slot("two.bias", Block.whole((6,)), (0,)),
            Slot("head.weight", Block((0, 0), (((3, 1),), ((6, 4), (4, 1)))), (1,), MINUS),
        ),
        (),
        "scaling",
    )
    return Symmetries([first, second], model)


class Attention(nn.Module):
    """Causal self-attention with fused queries, keys and values, and a residual stream."""

    def __init__(self, width: int = 12, heads: int = 3):
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.outputs = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.inputs(x).chunk(3, -1)]
        return x + self.outputs(
            scaled_dot_product_attention(*split, is_causal=True).transpose(1, 2).flatten(2)
        )


def attention_symmetries(model: Attention) -> Symmetries:
    """One GL per head between queries and keys, and one between values and outputs."""
    width, heads = model.outputs.in_features, model.heads
    size = width // heads

    def part(k: int) -> Block:
        return Block((k * width, 0), (((heads, size), (size, 1)), ((width, 1),)))

    columns = Block((0, 0), (((width, 1),), ((heads, size), (size, 1))))
    queries_keys = (
        Slot("inputs.weight", part(0), (0, 1), PLUS),
        Slot("inputs.weight", part(1), (0, 1), MINUS),
    )
    values = (Slot("inputs.weight", part(2), (0, 1), PLUS), Slot("outputs.weight", columns, (1, 2), MINUS))
    group = GeneralLinear(size)
    return Symmetries(
        [Symmetry(group, queries_keys, (heads,), "QK"), Symmetry(group, values, (heads,), "VO")], model
    )


class Rotary(nn.Module):
    """Attention scores with rotary positions: queries and keys of one head, halves paired as (x_i, x_{i + n})."""

    def __init__(self, width: int = 6, frequencies: int = 4):
        super().__init__()
        self.q = nn.Linear(width, 2 * frequencies, bias=False)
        self.k = nn.Linear(width, 2 * frequencies, bias=False)
        self.frequencies = frequencies

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[1])[:, None] / (1.0 + torch.arange(self.frequencies))
        turn = torch.polar(torch.ones_like(angle), angle)

        def rotated(t: Tensor) -> Tensor:
            re, im = t.chunk(2, -1)
            return torch.complex(re, im) * turn

        return torch.einsum("bsf,btf->bst", rotated(self.q(x)), rotated(self.k(x)).conj()).real.tanh()


def rotary_symmetries(model: Rotary) -> Symmetries:
    """A complex number per frequency."""
    n, width = model.frequencies, model.q.in_features
    block = Block((0, 0), (((2, n), (n, 1)), ((width, 1),)))
    slots = (Slot("q.weight", block, (0, 1), PLUS), Slot("k.weight", block, (0, 1), MINUS))
    return Symmetries([Symmetry(ComplexScaling(n), slots, (), "rotary")], model)


def backward(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Fill the gradients and return the loss."""
    model.zero_grad()
    loss = nn.functional.mse_loss(model(x), target)
    loss.backward()
    return loss.detach()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the gradients by name."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def snapshot(model: nn.Module, optimizer=None) -> list[Tensor]:
    """Copies of parameters, buffers, gradients and optimizer state, in order."""
    kept = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    kept += [p.grad.clone() for p in model.parameters() if p.grad is not None]
    if optimizer is not None:
        for p in model.parameters():
            kept += [v.clone() for v in optimizer.state.get(p, {}).values() if isinstance(v, Tensor)]
    return kept
