"""What weights are multiplied with, against hooks and unfold."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention, unfold
from torch.testing import assert_close

from isoloss.teleport._layer_inputs import layer_inputs


def recorded(module, *inputs):
    module = module.double()
    return layer_inputs(lambda: module(*inputs), {n: p for n, p in module.named_parameters() if p.dim() > 1})


def gram(x):
    return x.T @ x


def draw(*shape):
    return torch.randn(*shape).double()


@pytest.mark.parametrize("shape", [(9, 5), (2, 4, 5), (5,)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_inputs_of_a_linear_layer(shape, bias):
    x = draw(*shape)
    seen = recorded(nn.Linear(5, 3, bias=bias), x)["weight"]
    ((low, high, found),) = seen.parts()
    assert (low, high, seen.otherwise) == (0, 3, None)
    assert_close(gram(found), gram(x.reshape(-1, 5)), rtol=1e-13, atol=1e-13)


def test_two_uses_add():
    layer = nn.Linear(5, 5)
    x = draw(4, 5)
    seen = recorded(nn.Sequential(layer, nn.Tanh(), layer), x)["0.weight"]
    ((_, _, found),) = seen.parts()
    assert_close(gram(found), gram(x) + gram(layer(x).tanh()), rtol=1e-12, atol=1e-12)


CONVOLUTIONS = {
    "plain": {},
    "padded": {"padding": (1, 2)},
    "strided": {"stride": (2, 1), "padding": 1},
    "dilated": {"dilation": (1, 2), "padding": 2},
    "one by one": {"kernel_size": 1},
    "without bias": {"bias": False},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_patches_of_a_convolution(options):
    options = {"kernel_size": (3, 2), **options}
    layer, x = nn.Conv2d(4, 6, **options), draw(3, 4, 7, 8)
    ((low, high, found),) = recorded(layer, x)["weight"].parts()
    patches = unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    assert (low, high) == (0, 6)
    assert_close(gram(found), gram(patches.transpose(1, 2).flatten(0, 1)), rtol=1e-12, atol=1e-12)


def test_groups_see_their_own_channels():
    layer, x = nn.Conv2d(4, 6, 3, groups=2), draw(3, 4, 5, 5)
    parts = recorded(layer, x)["weight"].parts()
    assert [(low, high) for low, high, _ in parts] == [(0, 3), (3, 6)]
    for (_, _, found), half in zip(parts, x.chunk(2, 1), strict=True):
        assert_close(gram(found), gram(unfold(half, 3).transpose(1, 2).flatten(0, 1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Conv1d(2, 3, 3, padding=1), (4, 2, 7)), (nn.Conv3d(2, 3, 2), (2, 2, 3, 4, 3))],
    ids=["1d", "3d"],
)
def test_other_dimensions(layer, shape):
    """The outputs are the patches times the weight, for patches of that Gram matrix: compare x^T x through W."""
    x = draw(*shape)
    ((_, _, found),) = recorded(layer, x)["weight"].parts()
    rows, outputs = layer.weight.flatten(1), layer(x) - layer.bias.view(-1, *(1,) * (x.dim() - 2))
    there = outputs.transpose(0, 1).flatten(1)
    assert_close(rows @ gram(found) @ rows.T, there @ there.T, rtol=1e-11, atol=1e-11)


def test_packed_and_separate_queries_keys_and_values():
    attention, x, y = nn.MultiheadAttention(6, 2, batch_first=True), draw(2, 5, 6), draw(2, 4, 6)
    seen = recorded(attention, x, x, x)
    ((low, high, found),) = seen["in_proj_weight"].parts()
    assert (low, high) == (0, 18)
    assert_close(gram(found), gram(x.flatten(0, 1)), rtol=1e-12, atol=1e-12)
    seen = recorded(attention, x, y, y)
    parts = seen["in_proj_weight"].parts()
    assert [(low, high) for low, high, _ in parts] == [(0, 6), (6, 18)]
    assert_close(gram(parts[0][2]), gram(x.flatten(0, 1)), rtol=1e-12, atol=1e-12)
    assert_close(gram(parts[1][2]), gram(y.flatten(0, 1)), rtol=1e-12, atol=1e-12)
    heads = [
        linear(x, w, b).unflatten(-1, (2, 3)).transpose(1, 2)
        for w, b in zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
    ]
    mixed = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    ((_, _, found),) = recorded(attention, x, x, x)["out_proj.weight"].parts()
    assert_close(gram(found), gram(mixed.flatten(0, 1)), rtol=1e-11, atol=1e-11)


class Uses(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.w, self.f = nn.Parameter(torch.randn(4, 4)), f

    def forward(self, x):
        return self.f(self.w, x)


UNDERSTOOD = {
    "W x": lambda w, x: w @ x,
    "x W^T": lambda w, x: x @ w.T,
    "rows": lambda w, x: linear(x, w[1:3]),
    "chained": lambda w, x: linear(linear(x, w).tanh(), w),
    "both sides": lambda w, x: linear(w @ x, w),
}
OTHERWISE = {
    "x W": lambda w, x: x @ w,
    "columns": lambda w, x: linear(x[:, :2], w[:, :2]),
    "masked": lambda w, x: linear(x, w * (x > 0)),
    "embedding": lambda w, x: nn.functional.embedding(torch.tensor([1, 2]), w),
    "penalty": lambda w, x: linear(x, w).sum() + w.square().sum(),
    "W W^T": lambda w, x: w @ w.T,
    "transposed convolution": lambda w, x: nn.functional.conv_transpose1d(x[None], w[..., None]),
    "shifted": lambda w, x: linear(x, w.flatten()[1:13].view(3, 4)),
}


@pytest.mark.parametrize("f", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_outputs_do_not_see_what_the_vectors_annihilate(f):
    module, x = Uses(f).double(), draw(4, 4)
    x[:, 3] = 0.0
    x[3] = 0.0
    seen = recorded(module, x)["w"]
    assert seen.otherwise is None and seen.parts()
    change = torch.zeros(4, 4).double()
    for low, high, found in seen.parts():
        values, vectors = torch.linalg.eigh(gram(found))
        null = vectors[:, values < 1e-12]
        change[low:high] = torch.randn(high - low, null.shape[1]).double() @ null.T
    before = module(x)
    with torch.no_grad():
        module.w.add_(change)
    assert_close(module(x), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", OTHERWISE.values(), ids=OTHERWISE)
def test_other_uses_are_noticed(f):
    assert recorded(Uses(f), draw(4, 4))["w"].otherwise is not None


def test_casts_of_autocast_are_followed():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(3, 6)
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    with torch.autocast("cpu", torch.bfloat16):
        seen = layer_inputs(lambda: model(x), weights)
        hidden = model[1](model[0](x))
    assert [seen[n].otherwise for n in weights] == [None, None]
    assert_close(gram(seen["0.weight"].parts()[0][2]), gram(x.bfloat16().double()), rtol=1e-12, atol=1e-12)
    assert_close(gram(seen["2.weight"].parts()[0][2]), gram(hidden.double()), rtol=1e-12, atol=1e-12)
    # Cast, and then used in a way that is not understood.
    seen = layer_inputs(lambda: (model[0].weight.bfloat16() ** 2).sum(), weights)
    assert seen["0.weight"].otherwise is not None


def test_unused_weights_have_no_rows():
    seen = recorded(Uses(lambda w, x: x.sum()), draw(4, 4))["w"]
    assert seen.otherwise is None and seen.parts() == []
