"""Symmetries written down by hand, each with a network that it leaves unchanged.

``CASES`` maps a name to a function that draws a `Case` in float64; every kind of slot occurs, with every group.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from isoloss.groups import (
    Affine,
    ComplexScaling,
    GeneralLinear,
    Orthogonal,
    Permutation,
    PositiveScaling,
    SignFlip,
    Translation,
)
from isoloss.symmetry import Block, Frame, Operand, Shift, Slot, Symmetry

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A symmetry, parameters at a generic point, and what the network computes from them."""

    symmetry: Symmetry
    tensors: dict[str, Tensor]
    network: Callable[[Tensors], Tensor]


CASES: dict[str, Callable[[], Case]] = {}


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    CASES[build.__name__] = build
    return build


def draw(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


def x(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def whole(tensors: Tensors, name: str, *dims: int, charge=1, frames: tuple[Frame, ...] = ()) -> Slot:
    """All of a tensor."""
    return Slot(name, Block.whole(tuple(tensors[name].shape)), dims, Fraction(charge), frames)


def two_layers(h: int = 5) -> dict[str, Tensor]:
    return draw(w1=(h, 3), b1=(h,), w2=(4, h), b2=(4,))


def hidden(tensors: Tensors, group, outgoing=-1, **options) -> Symmetry:
    """A group on the hidden layer of `two_layers`."""
    slots = (
        whole(tensors, "w1", 0),
        whole(tensors, "b1", 0),
        whole(tensors, "w2", 1, charge=outgoing),
    )
    return Symmetry(group, slots, (), **options)


def mlp(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensor]:
    inputs = x(6, 3)
    return lambda t: F.linear(activation(F.linear(inputs, t["w1"], t["b1"])), t["w2"], t["b2"])


# ---------------------------------------------------------------- scalings


@case
def scaling() -> Case:
    t = two_layers()
    return Case(hidden(t, PositiveScaling(5)), t, mlp(lambda z: F.leaky_relu(z, 0.3)))


@case
def scaling_of_a_square() -> Case:
    """The outgoing weight pays twice."""
    t = two_layers()
    return Case(hidden(t, PositiveScaling(5), outgoing=-2), t, mlp(lambda z: z.relu() ** 2))


@case
def scaling_of_a_root() -> Case:
    t = two_layers()
    return Case(
        hidden(t, PositiveScaling(5), outgoing=Fraction(-1, 2)), t, mlp(lambda z: z.abs().sqrt() * z.sign())
    )


@case
def scaling_of_a_product() -> Case:
    """Two branches that are multiplied: one grows, the other shrinks."""
    t, inputs = draw(a=(5, 3), b=(5, 3)), x(6, 3)
    slots = (whole(t, "a", 0), whole(t, "b", 0, charge=-1))
    return Case(
        Symmetry(PositiveScaling(5), slots),
        t,
        lambda t: torch.sigmoid((inputs @ t["a"].T) * (inputs @ t["b"].T)),
    )


@case
def scaling_by_one_number() -> Case:
    """No dimension of its own: one factor for a whole tensor."""
    t, inputs = draw(a=(4, 3), b=(5, 4)), x(6, 3)
    slots = (whole(t, "a"), whole(t, "b", charge=-1))
    return Case(Symmetry(PositiveScaling(1), slots), t, lambda t: (inputs @ t["a"].T).relu() @ t["b"].T)


@case
def scaling_of_each_channel_and_place() -> Case:
    """One factor per entry of a matrix of hidden units, whose two axes lie in another order in the next weight."""
    t, inputs = draw(w1=(2, 5, 3), w2=(4, 5, 2)), x(6, 3)
    slots = (whole(t, "w1", 0, 1), whole(t, "w2", 2, 1, charge=-1))
    return Case(
        Symmetry(PositiveScaling(5), slots, (2,)),
        t,
        lambda t: torch.einsum("oup,npu->no", t["w2"], torch.einsum("pui,ni->npu", t["w1"], inputs).relu()),
    )


@case
def scaling_of_a_recurrent_relu() -> Case:
    """Two slots in one tensor."""
    t, inputs = draw(wi=(4, 3), wh=(4, 4), b=(4,), wo=(2, 4)), x(5, 6, 3)

    slots = (
        whole(t, "wi", 0),
        whole(t, "wh", 0),
        whole(t, "wh", 1, charge=-1),
        whole(t, "b", 0),
        whole(t, "wo", 1, charge=-1),
    )
    return Case(Symmetry(PositiveScaling(4), slots), t, recurrent(inputs, torch.relu))


def recurrent(inputs: Tensor, activation) -> Callable[[Tensors], Tensor]:
    def network(t: Tensors) -> Tensor:
        h = inputs.new_zeros(inputs.shape[1], 4)
        for step in inputs:
            h = activation(step @ t["wi"].T + h @ t["wh"].T + t["b"])
        return h @ t["wo"].T

    return network


@case
def scaling_through_a_channel_range() -> Case:
    """The hidden units of one branch are a range of a concatenation."""
    t, inputs = draw(w1=(5, 3), w2=(4, 9)), x(6, 3)
    others = x(6, 4)
    slots = (
        whole(t, "w1", 0),
        Slot("w2", Block((0, 2), (((4, 1),), ((5, 1),))), (1,), Fraction(-1)),
    )

    def network(t: Tensors) -> Tensor:
        z = (inputs @ t["w1"].T).relu()
        return torch.cat([others[:, :2], z, others[:, 2:]], 1) @ t["w2"].T

    return Case(Symmetry(PositiveScaling(5), slots), t, network)


# ---------------------------------------------------------------- signs, permutations


@case
def sign() -> Case:
    t = two_layers()
    return Case(hidden(t, SignFlip(5)), t, mlp(torch.tanh))


@case
def permutation() -> Case:
    t = two_layers()
    return Case(hidden(t, Permutation(5), outgoing=1), t, mlp(F.gelu))


@case
def permutation_of_a_recurrence() -> Case:
    t, inputs = draw(wi=(4, 3), wh=(4, 4), b=(4,), wo=(2, 4)), x(5, 6, 3)
    slots = (whole(t, "wi", 0), whole(t, "wh", 0), whole(t, "wh", 1), whole(t, "b", 0), whole(t, "wo", 1))
    return Case(Symmetry(Permutation(4), slots), t, recurrent(inputs, torch.tanh))


@case
def permutation_of_tied_weights() -> Case:
    """One weight reads and writes: it moves once."""
    t, inputs = draw(w=(5, 3), b=(5,)), x(6, 3)
    slots = (whole(t, "w", 0), whole(t, "b", 0))
    return Case(
        Symmetry(Permutation(5), slots), t, lambda t: F.gelu(F.linear(inputs, t["w"], t["b"])) @ t["w"]
    )


# ---------------------------------------------------------------- attention: fused weights, one element per head

HEADS, WIDTH, STREAM = 3, 2, 4


def head_rows(part: int, parts: int = 3, *, interleaved: bool = False) -> tuple[int, tuple]:
    """Start and factors of the rows of queries (0), keys (1) or values (2) in a fused weight."""
    if interleaved:  # head by head: q, k, v of the first, then of the second, ...
        return part * WIDTH, ((HEADS, parts * WIDTH), (WIDTH, 1))
    return part * HEADS * WIDTH, ((HEADS, WIDTH), (WIDTH, 1))


def fused(part: int, dims: tuple[int, ...], charge: int, **layout) -> tuple[Slot, Slot]:
    """The slots of weight and bias of one of queries, keys and values."""
    start, rows = head_rows(part, **layout)
    return (
        Slot("qkv", Block((start, 0), (rows, ((STREAM, 1),))), dims, Fraction(charge)),
        Slot("bias", Block((start,), (rows,)), dims, Fraction(charge)),
    )


def attention(
    inputs: Tensor, *, interleaved: bool = False, weights: Callable[[Tensor], Tensor] = torch.sigmoid
) -> Callable[[Tensors], Tensor]:
    """Attention; a softmax, unlike a sigmoid, would not see the keys' bias."""

    def network(t: Tensors) -> Tensor:
        qkv = F.linear(inputs, t["qkv"], t["bias"])
        if interleaved:
            q, k, v = qkv.unflatten(-1, (HEADS, 3, WIDTH)).permute(2, 1, 0, 3)
        else:
            q, k, v = qkv.unflatten(-1, (3, HEADS, WIDTH)).permute(1, 2, 0, 3)
        mixed = weights(q @ k.mT) @ v
        return mixed.transpose(0, 1).flatten(1) @ t["out"].T

    return network


def attention_tensors() -> dict[str, Tensor]:
    rows = 3 * HEADS * WIDTH
    return draw(qkv=(rows, STREAM), bias=(rows,), out=(STREAM, HEADS * WIDTH))


@case
def linear_queries_and_keys() -> Case:
    """GL per head, queries and keys one block behind the other in the same tensor."""
    t = attention_tensors()
    slots = fused(0, (0, 1), 1) + fused(1, (0, 1), -1)
    return Case(Symmetry(GeneralLinear(WIDTH), slots, (HEADS,)), t, attention(x(6, STREAM)))


@case
def linear_values_interleaved() -> Case:
    """GL per head between values and the output weight, heads outermost."""
    t = attention_tensors()
    columns = Block((0, 0), (((STREAM, 1),), ((HEADS, WIDTH), (WIDTH, 1))))
    out = Slot("out", columns, (1, 2), Fraction(-1))
    slots = (*fused(2, (0, 1), 1, interleaved=True), out)
    symmetry = Symmetry(GeneralLinear(WIDTH), slots, (HEADS,))
    return Case(symmetry, t, attention(x(6, STREAM), interleaved=True))


@case
def permutation_of_heads() -> Case:
    """The heads of queries, keys, values and the output weight, blocks of one tensor."""
    t = attention_tensors()
    columns = Block((0, 0), (((STREAM, 1),), ((HEADS, WIDTH), (WIDTH, 1))))
    out = Slot("out", columns, (1,), Fraction(1))
    slots = (*(s for part in range(3) for s in fused(part, (0,), 1)), out)
    return Case(Symmetry(Permutation(HEADS), slots), t, attention(x(6, STREAM)))


def rotary(inputs: Tensor, layout: str) -> Callable[[Tensors], Tensor]:
    """Scores of rotary attention; frequency f turns queries and keys by position times the angle of f."""
    angles = torch.tensor([1.0, 0.3, 0.1], dtype=torch.float64)[: WIDTH + 1]
    turn = torch.polar(torch.ones(()).double(), torch.outer(torch.arange(len(inputs)).double(), angles))

    def complex_of(w: Tensor) -> Tensor:
        z = (inputs @ w.flatten(0, -2).T).unflatten(-1, w.shape[:-1])
        pair = z if layout == "half" else z.transpose(-1, -2)  # (n, heads, 2, frequency)
        return torch.complex(pair[..., 0, :], pair[..., 1, :]) * turn[:, None, :]

    return lambda t: torch.einsum("nhf,mhf->nmh", complex_of(t["q"]), complex_of(t["k"]).conj()).real


@case
def complex_scaling_of_halves() -> Case:
    """Rotary embeddings that pair the two halves of a head."""
    t = draw(q=(HEADS, 2, 3, STREAM), k=(HEADS, 2, 3, STREAM))
    slots = (whole(t, "q", 0, 1, 2), whole(t, "k", 0, 1, 2, charge=-1))
    return Case(Symmetry(ComplexScaling(3), slots, (HEADS,)), t, rotary(x(5, STREAM), "half"))


@case
def complex_scaling_of_neighbours() -> Case:
    """Rotary embeddings that pair neighbours: frequency first, then real and imaginary part."""
    t = draw(q=(HEADS, 3, 2, STREAM), k=(HEADS, 3, 2, STREAM))
    slots = (whole(t, "q", 0, 2, 1), whole(t, "k", 0, 2, 1, charge=-1))
    return Case(Symmetry(ComplexScaling(3), slots, (HEADS,)), t, rotary(x(5, STREAM), "pairs"))


# ---------------------------------------------------------------- matrix groups


@case
def linear() -> Case:
    t = two_layers(4)
    return Case(hidden(t, GeneralLinear(4)), t, mlp(lambda z: z))


@case
def linear_recurrence() -> Case:
    """A matrix from both sides of one tensor."""
    t, inputs = draw(wi=(4, 3), wh=(4, 4), b=(4,), wo=(2, 4)), x(3, 6, 3)
    slots = (
        whole(t, "wi", 0),
        whole(t, "wh", 0),
        whole(t, "wh", 1, charge=-1),
        whole(t, "b", 0),
        whole(t, "wo", 1, charge=-1),
    )
    return Case(Symmetry(GeneralLinear(4), slots), t, recurrent(inputs, lambda z: z))


@case
def affine() -> Case:
    """Points seen only through differences and covectors."""
    t = draw(points=(6, 3), covectors=(4, 3))
    slots = (whole(t, "points", 1), whole(t, "covectors", 1, charge=-1))
    return Case(
        Symmetry(Affine(3), slots),
        t,
        lambda t: torch.tanh((t["points"][1:] - t["points"][0]) @ t["covectors"].T),
    )


@case
def rotation() -> Case:
    """A radial activation."""
    t = two_layers()
    return Case(hidden(t, Orthogonal(5)), t, mlp(lambda z: z * torch.sigmoid(z.norm(dim=-1, keepdim=True))))


@case
def rotation_about_the_ones() -> Case:
    """LayerNorm without weights: it commutes with rotations that fix the vector of ones."""
    t = two_layers()
    symmetry = hidden(t, Orthogonal(5, fixes_ones=True))
    return Case(symmetry, t, mlp(lambda z: F.layer_norm(z, (5,))))


@case
def rotation_through_a_norm_weight() -> Case:
    """RMSNorm with weight, read by the next layer: diag(weight)^-1 Q diag(weight) moves its rows."""
    t, inputs = draw(w1=(5, 3), norm=(5,), w2=(4, 5)), x(6, 3)
    frame = Frame("norm", Block.whole((5,)), (1,), -1)
    slots = (whole(t, "w1", 0), whole(t, "w2", 1, frames=(frame,)))
    return Case(
        Symmetry(Orthogonal(5), slots),
        t,
        lambda t: F.rms_norm(inputs @ t["w1"].T, (5,), t["norm"], eps=1e-3) @ t["w2"].T,
    )


@case
def rotation_through_two_weights() -> Case:
    """One weight multiplies, one divides, and both differ from head to head."""
    t, inputs = draw(w1=(2, 5, 3), up=(2, 5), down=(5, 2), w2=(4, 2, 5)), x(6, 3)
    up = Frame("up", Block.whole((2, 5)), (1, 2), -1)
    down = Frame("down", Block.whole((5, 2)), (2, 1), 1)
    slots = (whole(t, "w1", 0, 1), whole(t, "w2", 1, 2, frames=(up, down)))

    def network(t: Tensors) -> Tensor:
        z = F.rms_norm(torch.einsum("pui,ni->npu", t["w1"], inputs), (5,), eps=1e-3)
        return torch.einsum("opu,npu->no", t["w2"], z * t["up"] / t["down"].T)

    return Case(Symmetry(Orthogonal(5), slots, (2,)), t, network)


# ---------------------------------------------------------------- translations


@case
def translation_of_two_biases() -> Case:
    """Biases that are added: slots of opposite charge."""
    t, inputs = draw(w=(4, 3), a=(4,), b=(4,)), x(6, 3)
    slots = (whole(t, "a", 0), whole(t, "b", 0, charge=-1))
    return Case(
        Symmetry(Translation(4), slots), t, lambda t: torch.tanh(F.linear(inputs, t["w"], t["a"]) + t["b"])
    )


@case
def translation_through_a_weight() -> Case:
    """A bias that the next one takes back, through the weight between them."""
    t = two_layers()
    taken = Shift("b2", Block.whole((4,)), "i,oi->o", (Operand("w2", Block.whole((4, 5))),), Fraction(-1))
    slots = (whole(t, "b1", 0), taken)
    return Case(Symmetry(Translation(5), slots), t, mlp(lambda z: z))


@case
def shift_into_softmax() -> Case:
    """The same vector added to every row."""
    t, inputs = draw(w=(4, 3)), x(6, 3)
    slots = (Shift("w", Block.whole((4, 3)), "i->oi"),)
    return Case(Symmetry(Translation(3), slots), t, lambda t: torch.softmax(inputs @ t["w"].T, -1))


@case
def direction_that_a_norm_annihilates() -> Case:
    """LayerNorm's output has mean zero before its weight and bias, which the reader divides and takes back."""
    t, inputs = draw(norm=(5,), shift=(5,), w=(4, 5), b=(4,)), x(6, 5)
    norm, shift = Operand("norm", Block.whole((5,)), -1), Operand("shift", Block.whole((5,)))
    slots = (
        Shift("w", Block.whole((4, 5)), "o,i->oi", (norm,)),
        Shift("b", Block.whole((4,)), "o,i,i->o", (norm, shift), Fraction(-1)),
    )
    return Case(
        Symmetry(Translation(4), slots),
        t,
        lambda t: F.linear(F.layer_norm(inputs, (5,), t["norm"], t["shift"]), t["w"], t["b"]),
    )


@case
def shift_of_every_head() -> Case:
    """A translation per head of a range of a fused bias: keys' biases, which softmax forgets."""
    t = attention_tensors()
    start, rows = head_rows(1)
    slots = (Slot("bias", Block((start,), (rows,)), (0, 1), Fraction(1)),)
    network = attention(x(6, STREAM), weights=lambda scores: torch.softmax(scores, -1))
    return Case(Symmetry(Translation(WIDTH), slots, (HEADS,)), t, network)
