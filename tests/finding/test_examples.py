"""What holds for the example inputs only is not reported: constant, repeated, short and positive examples."""

import pytest
import torch
from torch import Tensor, nn

from isoloss.finding import find
from isoloss.finding._verify import BOLDNESS, Verifier, redrawn
from isoloss.finding._world import copy_in_float64
from isoloss.groups import Permutation, SignFlip
from isoloss.symmetry import Slot, Symmetry, named_tensors


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def families(model: nn.Module, inputs, **options) -> list[str]:
    return [s.family for s in find(model, inputs, **options)]


@pytest.mark.parametrize("value", [0.0, 1.0, 2.0])
def test_a_tensor_of_one_value_is_no_example_of_it(value):
    assert families(mlp(), torch.full((2, 4), value), verify="full") == ["scaling", "permutation"]


class TwoTables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Embedding(5, 4), nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, i: Tensor, j: Tensor) -> Tensor:
        return self.out(torch.tanh(self.a(i) + self.b(j)))


def test_equal_integers_may_differ():
    """Row by row the tables could only be shifted against one another if i were j; all rows alike, always."""
    same = torch.arange(5)[None]
    (shift,) = [s for s in find(TwoTables(), (same, same)) if s.family == "translation"]
    assert (shift.name, set(shift.parameters)) == ("R^4", {"a.weight", "b.weight"})


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.b(self.a(x) * mask)


@pytest.mark.parametrize(
    "mask", [torch.ones(3, 1), torch.tensor([[1.0], [0.0], [1.0]]), torch.ones(3, 1) > 0]
)
def test_masks_may_differ(mask):
    assert families(Masked(), (torch.randn(3, 4), mask)) == ["linear"]


class Jumps(nn.Module):
    """Shifts by less than the period pass almost always."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.fmod(self.a(x), 50.0))


def test_a_remainder_is_no_linear_map():
    assert "translation" not in families(Jumps(), torch.randn(4, 4))


class Logarithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.log()))


def test_positive_inputs_stay_positive_if_they_must():
    assert families(Logarithm(), torch.rand(5, 4) + 0.5) == ["linear", "translation"]


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.known: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if "h" not in self.known:
            self.known["h"] = self.a(x).tanh()
        return self.b(self.known["h"])


def test_caches_of_a_module_are_emptied_between_passes():
    model = Cached()
    assert families(model, torch.randn(5, 3), verify="full") == ["sign", "permutation"]
    assert model.known == {}


def test_hooks_that_reach_the_model_leave_no_trace():
    model = mlp()
    model.register_buffer("steps", torch.tensor(0.0))
    model.seen = []
    model.register_forward_hook(
        lambda m, a, y: (model.steps.add_(1), model.seen.append(y.detach()), None)[-1]
    )
    assert families(model, torch.randn(3, 4)) == ["scaling", "permutation"]
    assert float(model.steps) == 0 and model.seen == []


SHORT = {
    "attention to one token": (
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        tuple(torch.randn(1, 1, 8) for _ in range(3)),
        tuple(torch.randn(1, 5, 8) for _ in range(3)),
    ),
    "LSTM of one step": (lambda: nn.LSTM(3, 5), torch.randn(1, 2, 3), torch.randn(4, 2, 3)),
    "GRU of one step": (lambda: nn.GRU(3, 5), torch.randn(1, 2, 3), torch.randn(4, 2, 3)),
}


@pytest.mark.parametrize("name", SHORT)
def test_what_short_examples_do_not_reach_is_named(name):
    build, short, longer = SHORT[name]
    torch.manual_seed(0)
    found = find(build(), short)
    assert [n for n in found.notes if "with these example inputs the outputs do not depend on" in n]
    model = build()
    more = find(model, longer)
    assert len(more) > len(found)
    # And what is found on the short ones holds on the longer.
    before = model(*longer)[0] if isinstance(longer, tuple) else model(longer)[0]
    if len(found):
        found.bind(model).act_(found.sample())
    after = model(*longer)[0] if isinstance(longer, tuple) else model(longer)[0]
    torch.testing.assert_close(after, before)


class Router(nn.Module):
    """The outputs depend on its weights by jumps only."""

    def __init__(self) -> None:
        super().__init__()
        self.route, self.experts = nn.Linear(6, 4), nn.Parameter(torch.randn(4, 3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("boi,bi->bo", self.experts[self.route(x).argmax(-1)], x)


@pytest.mark.parametrize("seed", range(5))
def test_what_a_router_compares_scales_together(seed):
    torch.manual_seed(seed)
    (only,) = find(Router(), torch.randn(2, 6), seed=seed)
    assert (only.name, set(only.parameters)) == ("R+^1", {"route.weight", "route.bias"})


# ---------------------------------------------------------------- elements that show something


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("group", [Permutation(2), SignFlip(1), SignFlip(2)], ids=str)
def test_a_false_finite_symmetry_is_never_passed(group, seed):
    """Half of all draws from a group of two are the identity, which changes nothing."""
    torch.manual_seed(0)
    model = nn.Linear(3, group.n)
    twin = copy_in_float64(model)
    v = Verifier(
        twin, (torch.randn(4, 3).double(),), {}, dict(twin.named_parameters()), named_tensors(model), seed
    )
    block = next(
        s for s in find(nn.Sequential(model, nn.Identity(), nn.Linear(group.n, 2)), torch.randn(4, 3))
    ).slots
    bias = next(s for s in block if s.parameter == "0.bias")
    planted = Symmetry(group, (Slot("bias", bias.block, bias.dims),))
    assert v.verified([planted])[0] == []


# ---------------------------------------------------------------- other inputs


@pytest.mark.parametrize("boldness", BOLDNESS)
def test_redrawn_inputs_keep_what_they_should(boldness):
    random = torch.Generator().manual_seed(0)
    again = lambda x, scale=1.0: redrawn(x, scale, boldness, random)  # noqa: E731
    positive = torch.rand(400, dtype=torch.float64) + 0.1
    assert bool((again(positive) > 0).all()) == (boldness < 2)
    integers = torch.randint(3, 9, (400,))
    assert (int(again(integers).min()), int(again(integers).max())) == (3, 8)
    assert torch.equal(again(integers), integers) == (boldness == 0)
    mask = torch.rand(400) > 0.5
    assert again(mask).dtype == torch.bool and torch.equal(again(mask), mask) == (boldness == 0)
    ones = torch.ones(50)
    assert torch.equal(again(ones), ones) == (boldness == 0)
    infinite = torch.tensor([0.0, float("-inf")])
    assert torch.equal(again(infinite), infinite)
    assert again("text") == "text"
    normal = torch.randn(4000, dtype=torch.float64)
    # 4000 numbers: their spread is that of the example to 1 / sqrt(8000), about one per cent; five of these.
    assert float(again(normal, 10.0).std()) == pytest.approx(10 * float(normal.std()), rel=0.06)
