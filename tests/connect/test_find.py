"""Group elements between two points: planted ones are recovered, others are denied."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from connect.points import NETWORKS, draw, planted, relu, run, sequential, tensors
from isoloss.connect import find_group_element
from isoloss.groups import GeneralLinear, Orthogonal, Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry
from zoo import ZOO
from zoo.attention import GPT

# Least squares and products in float64: a few hundred roundings, times condition numbers of some ten.
ROUNDING = 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_a_planted_element_is_recovered(name):
    model, symmetries, x, a, elements, b = planted(name)
    found = find_group_element(a, b, symmetries, outputs=lambda w: run(model, w, x))
    assert found and found.found
    assert found.residual < ROUNDING and found.output_residual < ROUNDING
    for k, (g, h) in enumerate(zip(elements, found.elements, strict=True)):
        if k not in found.undetermined:  # unique: the very one
            assert_close(h, g, rtol=1e-9, atol=1e-9)
    assert all(
        s.group.contains(g, tolerance=1e-9 if s.dim else None)
        for s, g in zip(symmetries, found.elements, strict=True)
    )
    moved = a | symmetries.act(found.elements, a)
    assert_close(moved, b, rtol=1e-11, atol=1e-11)


DEEP = [
    "llama_like",  # rotations of the stream, gates, grouped queries, rotary phases, tied to nothing
    "gqa_broadcast",  # heads within groups of heads
    "rope_biased",
    "vit_cls",  # LayerNorm: rotations that fix the ones, shifts in front and behind
    "encoder_layer_pre_gelu",
    "gpt_untied",  # no bias behind the stream: only the head's ones tell the sign of the rotation
    "state_space",  # one matrix, moved from both sides
    "lstm_two_layers",
    "qk_rmsnorm",
    "conv_grouped",  # channels within groups, and the groups
    "groupnorm",
    "experts_bmm",
]


@pytest.mark.parametrize("name", DEEP)
def test_deep_networks_with_all_their_symmetries_at_once(name):
    model, inputs = ZOO[name].build()
    symmetries, a = isoloss.find(model, inputs), tensors(model.double())
    b = a | symmetries.act([s.sample(0.5, dtype=torch.float64) for s in symmetries], a)
    assert find_group_element(a, b, symmetries).residual < ROUNDING
    first = symmetries[0].parameters[0]
    assert not find_group_element(a, b | {first: b[first] + 1e-3 * draw(*b[first].shape)}, symmetries)


def test_what_cannot_be_found_is_denied_not_invented():
    """LoRA beside a trainable base: a bilinear translation hides all of the weights (docs/connect.md)."""
    model, inputs = ZOO["lora_trainable"].build()
    symmetries, a = isoloss.find(model, inputs), tensors(model.double())
    b = a | symmetries.act([s.sample(0.5, dtype=torch.float64) for s in symmetries], a)
    found = find_group_element(a, b, symmetries)
    assert not found and found.undetermined


@pytest.mark.parametrize("name", NETWORKS)
def test_a_point_beside_the_orbit_is_denied(name):
    """The negative control: noise of a thousandth leaves the orbit."""
    _, symmetries, _, a, _, b = planted(name)
    b = {n: t + 1e-3 * torch.randn_like(t) if t.is_floating_point() else t for n, t in b.items()}
    found = find_group_element(a, b, symmetries)
    assert not found and found.residual > 1e-4


def test_what_nothing_moves_must_be_equal():
    model, symmetries, _, a, _, b = planted("relu")
    b = b | {"4.bias": b["4.bias"] + 1e-3}
    assert not find_group_element(a, b, symmetries)
    assert not find_group_element(a, {n: draw(*t.shape) for n, t in a.items()}, symmetries)


def test_the_same_point_needs_the_identity():
    _, symmetries, _, a, *_ = planted("relu")
    found = find_group_element(a, a, symmetries)
    assert found.residual == 0.0
    assert_close(found.elements, symmetries.bind(planted("relu")[0]).identity(), check_dtype=False)


@pytest.mark.parametrize(
    "group", [Permutation, PositiveScaling, SignFlip, GeneralLinear, Orthogonal], ids=lambda g: g.__name__
)
def test_one_group_at_a_time(group):
    """On one matrix between two rigid ends, by hand: V' = g V, U' = U g^-1."""
    n = 5
    point = {"v": draw(n, 7), "u": draw(3, n)}
    slots = (Slot("v", Block.whole((n, 7)), (0,)), Slot("u", Block.whole((3, n)), (1,), -1))
    symmetries = Symmetries([Symmetry(group(n), slots)])
    g = group(n).sample(dtype=torch.float64)
    there = point | symmetries.act([g], point)
    found = find_group_element(point, there, symmetries)
    assert found and found.undetermined == ()
    assert_close(found.elements[0], g, rtol=1e-11, atol=1e-11)
    assert not find_group_element(point, there | {"u": there["u"] * 1.001}, symmetries)


def test_permutations_against_the_literal_search_over_all_of_them():
    n = 4
    point = {"v": draw(n, 2), "u": draw(2, n)}
    slots = (Slot("v", Block.whole((n, 2)), (0,)), Slot("u", Block.whole((2, n)), (1,)))
    symmetries = Symmetries([Symmetry(Permutation(n), slots)])
    for planted_one in ([2, 0, 3, 1], [1, 0, 2, 3]):
        there = point | symmetries.act([torch.tensor(planted_one)], point)
        costs = {
            p: sum(
                (point[k].movedim(a, 0)[list(p)].movedim(0, a) - there[k]).norm()
                for k, a in (("v", 0), ("u", 1))
            )
            for p in itertools.permutations(range(n))
        }
        assert find_group_element(point, there, symmetries).elements[0].tolist() == list(
            min(costs, key=costs.get)
        )


@pytest.mark.parametrize(
    "kind", ["equal", "dead", "equal incoming", "dead incoming", "zero biases", "silent"]
)
def test_neurons_that_look_alike(kind):
    """Stabilizers leave the element open, not the answer; what one layer cannot tell the next one does."""
    model, x = relu()
    with torch.no_grad():
        one, two, last = model[0], model[2], model[4]
        match kind:
            case "equal":
                one.weight[1], one.bias[1], two.weight[:, 1] = one.weight[0], one.bias[0], two.weight[:, 0]
            case "dead":
                for i in (1, 4):
                    one.weight[i], one.bias[i], two.weight[:, i] = 0.0, 0.0, 0.0
            case "equal incoming":
                one.weight[1], one.bias[1] = one.weight[0], one.bias[0]
            case "dead incoming":
                for i in (1, 2, 4):
                    one.weight[i], one.bias[i] = 0.0, 0.0
            case "zero biases":
                for layer in (one, two, last):
                    layer.bias.zero_()
            case "silent":
                two.weight[:, 2] = 0.0
    symmetries = isoloss.find(model, x)
    a = tensors(model)
    for _ in range(3):
        b = a | symmetries.act([s.sample(0.5, dtype=torch.float64) for s in symmetries], a)
        found = find_group_element(a, b, symmetries)
        assert found.residual < ROUNDING, kind
        if kind in ("equal", "dead"):
            assert found.undetermined
    assert not find_group_element(a, b | {"2.weight": 1.01 * b["2.weight"]}, symmetries)


def test_in_float32_half_of_its_digits_decide():
    model, symmetries, _, a, elements, _ = planted("relu")
    a = {n: t.float() for n, t in a.items()}
    b = a | symmetries.act(elements, a)
    assert find_group_element(a, b, symmetries)
    b["0.weight"] = b["0.weight"] * 1.01
    assert not find_group_element(a, b, symmetries)


class AttentionBlock(nn.Module):
    """A block of a transformer with its shifts: biases everywhere, two norms, fused projections."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out, self.up = nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.up(x + self.out(y.transpose(1, 2).reshape(b, t, d)))


def test_a_block_in_float32():
    """Its rounding is above what float64 leaves: the search has to end with that, all shifts included."""
    model = AttentionBlock(16, 2)
    symmetries, a = isoloss.find(model, torch.randn(4, 5, 16)), tensors(model)
    b = a | symmetries.act(symmetries.sample(0.3), a)
    found = find_group_element(a, b, symmetries)
    # Rounding of both points, times condition numbers of the elements below a hundred.
    assert found and found.residual < 100 * torch.finfo(torch.float32).eps
    bent = b | {"qkv.weight": b["qkv.weight"] * (1 + 0.1 * torch.rand_like(b["qkv.weight"]))}
    assert not find_group_element(a, bent, symmetries)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_transformer_of_two_blocks_without_a_bias_behind_its_stream(dtype):
    """The rotation of the stream fixes the ones; the head, which is untied, tells its sign and nothing else does."""
    model = GPT(tied=False, blocks=2).to(dtype)
    symmetries, a = isoloss.find(model, torch.randint(7, (2, 4))), tensors(model)
    assert any(isinstance(s.group, Orthogonal) and s.group.fixes_ones for s in symmetries)
    for _ in range(3):  # of either sign
        b = a | symmetries.act(symmetries.sample(0.3), a)
        found = find_group_element(a, b, symmetries)
        # Rounding of both points, times condition numbers of the elements below a hundred; ROUNDING is float64's.
        assert found and found.residual < max(100 * torch.finfo(dtype).eps, ROUNDING)
    bent = b | {"head.weight": b["head.weight"] * (1 + 0.1 * torch.rand_like(b["head.weight"]))}
    assert not find_group_element(a, bent, symmetries)


def test_wide_layers_are_matched():
    model = sequential(
        nn.Linear(20, 200), nn.LeakyReLU(), nn.Linear(200, 150), nn.LeakyReLU(), nn.Linear(150, 5)
    )
    symmetries = isoloss.find(model, draw(3, 20))
    a = tensors(model)
    b = a | symmetries.act([s.sample(1.0, dtype=torch.float64) for s in symmetries], a)
    assert find_group_element(a, b, symmetries).residual < ROUNDING


def test_models_themselves_may_be_compared():
    model, symmetries, x, a, elements, b = planted("relu")
    other, _ = relu()
    other.load_state_dict(b)
    assert find_group_element(model, other, symmetries)


def test_clear_sentences():
    model, symmetries, x, a, _, b = planted("relu")
    with pytest.raises(
        ValueError, match="both points must have the same parameters; got 6.bias in one of them only"
    ):
        find_group_element(a, b | {"6.bias": draw(3)}, symmetries)
    with pytest.raises(ValueError, match="parameters must have the same shapes"):
        find_group_element(a, b | {"4.bias": draw(4)}, symmetries)
    with pytest.raises(ValueError, match="there must be a symmetry to move along; got none"):
        find_group_element(a, b, symmetries[:0])
    with pytest.raises(ValueError, match="symmetries must be what isoloss.find returns; got list"):
        find_group_element(a, b, list(symmetries))
    with pytest.raises(ValueError, match="parameters must be finite; got inf or nan in 0.bias"):
        find_group_element(a | {"0.bias": a["0.bias"] / 0}, b, symmetries)
    with pytest.raises(ValueError, match="tolerance must be a number that is not negative"):
        find_group_element(a, b, symmetries, tolerance=-1)
    with pytest.raises(ValueError, match="a point must be a model or a mapping"):
        find_group_element([1], b, symmetries)
    with pytest.raises(
        ValueError, match="the points must hold every tensor that a symmetry uses; got none named 0.weight"
    ):
        find_group_element({"x": draw(2)}, {"x": draw(2)}, symmetries)
