"""The copy that symmetries are tried on: where it goes, and that it comes back."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from isoloss.finding import _verify as verify
from isoloss.finding import find
from isoloss.finding._gradients import random_gradients
from isoloss.finding._verify import Verifier
from isoloss.finding._world import copy_in_float64
from isoloss.symmetry import named_tensors


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))


def verifier(model: nn.Module, x: Tensor, wander: bool = True) -> Verifier:
    twin = copy_in_float64(model)
    tensors = {n: t for n, t in named_tensors(twin).items() if t.is_floating_point()}
    return Verifier(twin, (x.double(),), {}, tensors, named_tensors(model), wander=wander)


def images() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pool", [101, 1_000_003])  # above and below the sizes of the weights
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_undone_move_leaves_no_bit(pool, layout, monkeypatch):
    monkeypatch.setattr(verify, "POOL", pool)
    model = network().eval().to(memory_format=layout)
    v = verifier(model, images())
    before = {n: t.clone() for n, t in v.tensors.items()}
    change = v.change(list(before), lambda: [t.mul_(1.5) for t in v.tensors.values()])
    assert change > 0.1
    assert all(torch.equal(t, before[n]) for n, t in v.tensors.items())


def test_each_point_is_as_far_from_home_as_the_first():
    """Noise that added up would carry a softmax to saturation after some attempts."""
    model = network().eval()
    v, distances = verifier(model, images()), []
    home = {n: t.detach().double() for n, t in named_tensors(model).items()}
    for _ in range(50):
        distances.append(float((v.tensors["4.weight"] - home["4.weight"]).norm()))
        v.perturb()
    # Each is the norm of 640 normal numbers, which spreads by 1 / sqrt(2 * 640) about its mean, 3 %; five of these.
    assert max(distances) < 1.3 * min(distances)
    size = float(home["4.weight"].norm()) / 640**0.5
    assert distances[0] / 640**0.5 == pytest.approx(0.2 * size + 0.02, rel=0.15)


def test_points_differ_and_every_tensor_has_its_own_noise():
    v = verifier(network().eval(), images())
    first = v.tensors["4.weight"].clone()
    v.perturb()
    assert not torch.equal(v.tensors["4.weight"], first)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    v = verifier(model, torch.randn(2, 4))
    assert not torch.equal(v.tensors["0.weight"], v.tensors["1.weight"])


def test_variances_stay_positive():
    v = verifier(network().eval(), images())
    for _ in range(20):
        v.perturb()
        assert bool((v.tensors["1.running_var"] > 0).all())


def test_without_wandering_it_stays_home():
    model = network().eval()
    v = verifier(model, images(), wander=False)
    v.perturb()
    assert all(torch.equal(t, named_tensors(model)[n].double()) for n, t in v.tensors.items())


def test_passes_in_training_leave_statistics():
    v = verifier(network().train(), images())
    before = v.tensors["1.running_mean"].clone()
    v.outputs()
    assert torch.equal(v.tensors["1.running_mean"], before)


class Fragile(nn.Module):
    """Finite at home only: the square root of a number that noise makes negative."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.shift = nn.Parameter(torch.zeros(4096))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).relu() + self.shift.neg().sqrt().sum()


def test_where_noise_leaves_the_domain_it_stays_home():
    model = Fragile()
    v = verifier(model, torch.randn(2, 3))
    assert torch.equal(v.tensors["shift"], torch.zeros(4096, dtype=torch.float64))


# ---------------------------------------------------------------- gradients, one after another


class Tied(nn.Module):
    """A table that is read twice, and never gets a gradient for its first row in training."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4, padding_idx=0, scale_grad_by_freq=True)
        self.own = nn.Embedding(7, 4)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.table(tokens) + self.own(tokens)).tanh() @ self.table.weight.T


def test_gradients_are_those_of_one_backward_pass():
    """Also of a padding row, which is held still only by the backward pass of the embedding."""
    model, tokens = Tied(), torch.tensor([[0, 1, 1, 5]])
    twin = copy_in_float64(model)
    v = Verifier(twin, (tokens,), {}, dict(twin.named_parameters()), named_tensors(model))
    seen: dict[str, Tensor] = {}
    assert random_gradients(v, lambda name, g, largest: seen.update({name: g.clone()}) or None)
    assert seen.keys() == {"table.weight", "own.weight"}
    a, b = (v.tensors[n].clone().requires_grad_() for n in ("table.weight", "own.weight"))
    out = (a[tokens] + b[tokens]).tanh() @ a.T
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as the world of the search does
        function = (out * torch.randn(out.shape, dtype=torch.float64)).sum()
    for name, g in zip(("table.weight", "own.weight"), torch.autograd.grad(function, (a, b)), strict=True):
        assert_close(seen[name], g)
        assert float(seen[name][0].abs().max()) > 0
    assert all(p.grad is None and not p.requires_grad for p in twin.parameters())


def test_what_two_tables_share_is_found_with_a_padding_row():
    """Token and position tables: v to all rows of one, -v to all rows of the other; the padding row included."""

    class Tables(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(6, 4, padding_idx=0)
            self.place = nn.Embedding(5, 4)
            self.out = nn.Linear(4, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out((self.token(tokens) + self.place.weight).tanh())

    found = find(Tables(), torch.tensor([[0, 1, 2, 3, 4], [5, 3, 0, 0, 1]]))
    shifts = [s for s in found if s.family == "translation"]
    assert [set(s.parameters) for s in shifts] == [{"token.weight", "place.weight"}]
