"""Prop. 6.4.1: the symmetries of a part are symmetries of the whole, and among those that find sees in the whole."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from discovery.extension.models import Head, TransformerBlock, cnn, extended
from finding.spans import rank, tangents
from isoloss.discovery.extension import extend
from isoloss.finding import find
from isoloss.groups import GeneralLinear, Permutation, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry, named_tensors
from networks import mlp

IN_PROJECTION = {
    **{f"{k}.weight": ("attention.in_proj_weight", slice(6 * i, 6 * i + 3)) for i, k in enumerate("qkv")},
    **{f"{k}.bias": ("attention.in_proj_bias", slice(6 * i, 6 * i + 3)) for i, k in enumerate("qkv")},
    "o.weight": ("attention.out_proj.weight", (slice(None), slice(3))),
    "o.bias": "attention.out_proj.bias",
}
FIRST_UNITS = {
    "0.weight": ("0.weight", slice(4)),
    "0.bias": ("0.bias", slice(4)),
    "2.weight": ("2.weight", (slice(None), slice(4))),
    "2.bias": "2.bias",
}


class Fused(nn.Module):
    """torch's own attention: all heads in fused weights."""

    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(6), nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.attention(y, y, y, need_weights=False)[0]


def in_deeper_mlp():
    small = mlp(3, 4, 3)
    return small, torch.randn(5, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh(), small, nn.Tanh()), (5, 3), "2"


def in_wider_mlp():
    return mlp(3, 4, 2), torch.randn(5, 3), mlp(3, 7, 2), (5, 3), FIRST_UNITS


def relu_block_in_cnn():
    model = cnn()
    return model[2], torch.randn(3, 4, 4, 4), model, (3, 2, 6, 6), "2"


def head_in_transformer():
    model = TransformerBlock()
    return model.heads[1], torch.randn(2, 5, 6), model, (2, 5, 6), "heads.1"


def mlp_behind_its_norm():
    model = TransformerBlock()
    return model.mlp, torch.randn(2, 5, 6), model, (2, 5, 6), "mlp"


def head_in_fused_attention():
    return Head(), torch.randn(2, 5, 6), Fused(), (2, 5, 6), IN_PROJECTION


CASES = [
    in_deeper_mlp,
    in_wider_mlp,
    relu_block_in_cnn,
    head_in_transformer,
    mlp_behind_its_norm,
    head_in_fused_attention,
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_all_that_find_sees_in_the_part_is_among_what_it_sees_in_the_whole(case):
    small, example, large, shape, at = case()
    x = torch.randn(shape)
    part = extended(small, example, into=large, at=at, inputs=x)
    whole = find(large, x)
    tensors = {n: t.detach().double() for n, t in named_tensors(large).items()}
    names = [n for n, _ in large.named_parameters()]
    inherited = tangents([s for s in part if s.exact and s.dim], tensors, names)
    known = tangents([s for s in whole if s.exact and s.dim], tensors, names)
    assert part.dim and rank(torch.cat([known, inherited])) == rank(known) >= rank(inherited) > 0
    for s in part.only(Permutation):
        slots = [(t.parameter, t.dims) for t in s.slots]
        assert slots in [[(t.parameter, t.dims) for t in w.slots] for w in whole.only(Permutation)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_the_part_moves_and_the_outputs_do_not_on_inputs_never_seen(case):
    small, example, large, shape, at = case()
    large = large.double()
    part = extended(small, example, into=large, at=at, inputs=torch.randn(shape))
    before = {n: t.clone() for n, t in named_tensors(large).items()}
    x = 2 * torch.randn(shape, dtype=torch.float64)
    y = large(x)
    part.act_(part.sample())
    # 16 digits, less those of the elements' condition and of a forward pass: find's own tolerance.
    assert_close(large(x), y, rtol=1e-10, atol=1e-10)
    moved = [n for n, t in named_tensors(large).items() if float((before[n] - t).detach().abs().max()) > 0.01]
    assert set(moved) == {n for s in part for n in s.parameters}


def test_it_is_the_action_on_the_part_and_nothing_else():
    """a'(g, (theta_1, theta_2)) = (theta_1, a(g, theta_2)), to the bit."""
    small, example, large, shape, at = relu_block_in_cnn()
    for s in find(small, example):
        e = extend(s, into=large, at=at, inputs=torch.randn(shape))
        g = s.sample(dtype=torch.float32)
        literal = {f"2.{n}": t for n, t in s.act(g, named_tensors(small)).items()}
        assert_close(e.act(g, named_tensors(large)), literal, rtol=0, atol=0)
        assert (e.group, e.batch, e.family, e.exact) == (s.group, s.batch, s.family, s.exact)


def test_rows_and_columns_of_a_wide_network_are_the_narrow_one():
    """Cor. 6.4.2 by hand: h' = 7, h = 4, and the units 5 to 7 stay."""
    small, example, large, shape, at = in_wider_mlp()
    (s,) = find(small, example).only(PositiveScaling)
    e = extend(s, into=large, at=at, inputs=torch.randn(shape))
    g = s.sample(dtype=torch.float64)
    moved = e.act(g, {n: t.detach().double() for n, t in named_tensors(large).items()})
    scale = torch.cat([g, torch.ones(3, dtype=torch.float64)])
    assert_close(moved["0.weight"], scale[:, None] * large[0].weight.double())
    assert_close(moved["2.weight"], large[2].weight.double() / scale)


def test_units_at_regular_distances_are_a_narrow_network_too():
    small, example, large, shape, _ = in_wider_mlp()
    at = {n: (n, slice(0, 7, 2)) for n in ("0.weight", "0.bias")}
    at |= {"2.weight": ("2.weight", (slice(None), slice(0, 7, 2))), "2.bias": "2.bias"}
    part = extended(small, example, into=large, at=at, inputs=torch.randn(shape))
    moved = part[0].act(part[0].sample(), named_tensors(large))["0.weight"]
    stays = (moved == large[0].weight).all(1)
    assert stays.tolist() == [False, True] * 3 + [False]


def test_what_is_extended_twice_is_extended():
    """A part of a part: Cor. 6.4.2 inside Cor. 6.4.3."""
    small, example, large, shape, at = in_wider_mlp()
    deep = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), large)
    for s in find(small, example):
        once = extend(s, into=large, at=at, inputs=torch.randn(shape))
        twice = extend(once, into=deep, at="2", inputs=torch.randn(5, 4))
        direct = {n: (f"2.{v}" if isinstance(v, str) else (f"2.{v[0]}", *v[1:])) for n, v in at.items()}
        assert twice.slots == extend(s, into=deep, at=direct, inputs=torch.randn(5, 4)).slots


def test_a_subnetwork_that_runs_twice_keeps_its_exact_symmetries():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.last = mlp(3, 4, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.last(self.f(self.f(x).tanh()))

    model = Twice()
    assert len(extended(model.f, torch.randn(5, 3), into=model, at="f", inputs=torch.randn(5, 3))) == 2


def test_the_model_is_not_touched():
    small, example, large, shape, at = relu_block_in_cnn()
    large.insert(1, nn.BatchNorm2d(4))
    large.train()
    before = {n: t.clone() for n, t in large.state_dict().items()}
    extended(small, example, into=large, at="3", inputs=torch.randn(shape))
    assert_close(large.state_dict(), before, rtol=0, atol=0)
    assert "forward" not in vars(small) and all(p.grad is None for p in large.parameters())


def test_a_symmetry_up_to_eps_stays_one():
    norm = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).train()
    large = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), norm)
    nearly = find(norm, torch.randn(8, 4)).where(lambda s: not s.exact)
    assert len(nearly)
    for s in nearly:
        e = extend(s, into=large, at="2", inputs=torch.randn(8, 4))
        assert not e.exact and e.error is not None and 1e-10 < e.error < 1e-2


def test_a_loss_may_be_what_stays():
    """A rotation of all outputs keeps their norm, and nothing else."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    with_norm = nn.Sequential(nn.Linear(4, 3), Norm())
    (s, *_) = find(with_norm, torch.randn(5, 4)).where(lambda s: s.group.name == "O(3)")
    at = {"0.weight": "2.weight", "0.bias": "2.bias"}
    x = torch.randn(5, 3)
    kept = extend(s, into=model, at=at, inputs=x, loss=lambda y: y.norm(dim=-1))
    assert kept.error is not None and kept.error < 1e-10
    with pytest.raises(ValueError, match="must leave the outputs of the whole model as they are"):
        extend(s, into=model, at=at, inputs=x)


class Norm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.norm(dim=-1)


def scaling(names: tuple[str, str], shapes: tuple[tuple[int, int], tuple[int, int]]) -> Symmetry:
    one, two = (Block.whole(s) for s in shapes)
    slots = (Slot(names[0], one, (0,)), Slot(names[1], two, (1,), -1))
    return Symmetry(PositiveScaling(shapes[0][0]), slots, (), "scaling")


def test_names_without_a_place_are_refused():
    s = scaling(("a", "b"), ((4, 3), (3, 4)))
    with pytest.raises(ValueError, match="got none for a, b; the submodule has 0.weight, 0.bias"):
        extend(s, into=nn.Sequential(mlp(3, 4, 3)), at="0", inputs=torch.randn(2, 3))


def test_shapes_that_do_not_fit_are_refused():
    s = scaling(("0.weight", "2.weight"), ((5, 3), (3, 5)))
    with pytest.raises(ValueError, match=r"blocks must lie in .* shape \(5, 3\) from \(0, 0\) for 0.weight"):
        extend(s, into=nn.Sequential(mlp(3, 4, 3)), at="0", inputs=torch.randn(2, 3))


def test_the_symmetry_of_another_activation_is_refused_by_the_numbers():
    s = scaling(("0.weight", "2.weight"), ((4, 3), (3, 4)))
    model = nn.Sequential(mlp(3, 4, 3, activation=nn.Tanh, bias=False), nn.Tanh())
    with pytest.raises(
        ValueError, match=r"of 0 must leave .* the outputs changed by .* no symmetry of what 0 ret"
    ):
        extend(s, into=model, at="0", inputs=torch.randn(2, 3))
    leaky = nn.Sequential(mlp(3, 4, 3, bias=False), nn.Tanh())
    assert extend(s, into=leaky, at="0", inputs=torch.randn(2, 3)).error < 1e-10


def test_what_holds_on_the_examples_only_is_refused():
    """A ReLU layer whose units are all active is linear: all of GL(3) holds there, and nowhere else."""
    model = nn.Sequential(mlp(2, 3, 2, activation=nn.ReLU), nn.Tanh())
    with torch.no_grad():
        model[0][0].bias.fill_(2.0)
    slots = (Slot("0.weight", Block.whole((3, 2)), (0,)), Slot("0.bias", Block.whole((3,)), (0,)))
    s = Symmetry(GeneralLinear(3), (*slots, Slot("2.weight", Block.whole((2, 3)), (1,), -1)), (), "linear")
    with pytest.raises(ValueError, match="the outputs changed"):
        extend(s, into=model, at="0", inputs=0.1 * torch.randn(2, 2))


def test_a_module_that_never_runs_is_refused():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.other = mlp(3, 4, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.other(x)

    model = Idle()
    s = find(model.f, torch.randn(5, 3))[0]
    with pytest.raises(ValueError, match="got a pass that never calls f"):
        extend(s, into=model, at="f", inputs=torch.randn(5, 3))


def test_the_negative_control_what_nothing_depends_on_shows_nothing():
    class Muted(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.other = mlp(3, 4, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.other(x) + 0.0 * self.f(x)

    model = Muted()
    s = find(model.f, torch.randn(5, 3))[0]
    with pytest.raises(ValueError, match="must depend on what moves, or nothing is shown; got f.0.weight"):
        extend(s, into=model, at="f", inputs=torch.randn(5, 3))


def test_a_symmetry_that_moves_nothing_is_refused():
    still = Symmetry(PositiveScaling(4), (Slot("0.weight", Block.whole((4, 3)), (0,), 0),), (), "scaling")
    with pytest.raises(
        ValueError, match="an element must move the parameters; got 0.0.weight, which moved by 0e"
    ):
        extend(still, into=nn.Sequential(mlp(3, 4, 3)), at="0", inputs=torch.randn(2, 3))


@pytest.mark.parametrize(
    ("symmetry", "at", "message"),
    [
        ("all", "0", "one symmetry at a time; got Symmetries"),
        ("one", 0, "a path or a mapping of names; got int"),
    ],
)
def test_wrong_types_are_refused(symmetry, at, message):
    model = nn.Sequential(mlp(3, 4, 3))
    found = find(model[0], torch.randn(2, 3))
    assert isinstance(found, Symmetries)
    with pytest.raises(TypeError, match=message):
        extend(found if symmetry == "all" else found[0], into=model, at=at, inputs=torch.randn(2, 3))


def test_buffers_may_move():
    """A layer whose second factor is a buffer: the scaling of its units moves that as well."""

    class Factors(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Parameter(torch.randn(4, 3))
            self.register_buffer("two", torch.randn(2, 4))

        def forward(self, x):
            return (x @ self.one.mT).relu() @ self.two.mT

    model = nn.Sequential(nn.Linear(3, 3), Factors(), nn.Tanh())
    e = extend(scaling(("one", "two"), ((4, 3), (2, 4))), into=model, at="1", inputs=torch.randn(5, 3))
    assert e.parameters == ("1.one", "1.two") and e.error < 1e-10
