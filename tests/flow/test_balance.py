"""Conserved quantities set to a value, with the function unchanged."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from flow.running import HeadAttention
from isoloss import flow
from isoloss.flow import _balance
from isoloss.flow._quantity import of_matrices
from isoloss.teleport import Balance, Teleport, always
from networks import linear_symmetries, mlp, mlp_symmetries


def close(model, x, target=None, *, symmetries=None, **options):
    """Balance, and check that the function is the same to rounding: eps times the condition of what moved it."""
    model = model.double()
    symmetries = isoloss.find(model, x) if symmetries is None else symmetries
    before = model(x).detach()
    report = flow.balance(model, symmetries, target, **options)
    assert_close(model(x).detach(), before, rtol=1e-9, atol=1e-11)
    quantities = flow.conserved_quantities(symmetries)
    assert_close(quantities.evaluate(model), dict(report.after))
    return report, quantities


X = torch.randn(7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

NETS = {
    "linear": lambda: mlp(8, 5, 6, 7, activation=nn.Identity),
    "ReLU": lambda: mlp(8, 6, 9, 7, activation=nn.ReLU),
    "attention": lambda: nn.Sequential(nn.Unflatten(-1, (2, 4)), HeadAttention(4, 2)),
    "convolutional": lambda: nn.Sequential(
        nn.Unflatten(-1, (2, 2, 2)),
        nn.Conv2d(2, 3, 2, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 2, 2),
        nn.Flatten(),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_by_default_all_quantities_become_zero(name):
    """Newton's last step leaves the rounding of the sums."""
    report, quantities = close(NETS[name](), X)
    start = max(float(v.norm()) for v in report.before.values())
    assert start > 0.1 and len(report.after) == len(quantities)
    for value in report.after.values():
        assert value.norm() < 1e-10 * start


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("target", [2.0, -0.5])
def test_one_number_is_given_to_all(name, target):
    """Times the identity for matrices."""
    report, quantities = close(NETS[name](), X, target)
    for n, value in report.after.items():
        square = len(quantities[n].symmetry.group.algebra_shape) == 2
        expected = target * (torch.eye(value.shape[-1]).double() if square else 1.0)
        assert_close(value, expected * torch.ones_like(value) if not square else expected.expand_as(value))


def test_a_number_that_float32_does_not_have_is_reached():
    report, _ = close(NETS["ReLU"](), X, 14 / 9)
    for value in report.after.values():
        # The stopping rule: the rounding of the sums, of some tens.
        assert_close(value, torch.full_like(value, 14 / 9), rtol=0, atol=1e-11)


def test_a_pair_of_linear_layers_reaches_any_symmetric_matrix():
    """There is one as long as both sides have full rank: P' (P' - T) similar to P N has a solution."""
    model = mlp(8, 5, 7, activation=nn.Identity).double()
    wanted = torch.randn(5, 5).double()
    wanted = wanted + wanted.mT
    name = "GL(5) between 0.weight and 2.weight"
    report, _ = close(model, X, {name: wanted}, symmetries=linear_symmetries(model))
    assert_close(report.after[name], wanted)


def test_a_neuron_has_the_closed_form():
    """s^2 P - N / s^2 = T: s^2 = (T + sqrt(T^2 + 4 P N)) / 2 P."""
    model = mlp(8, 6, 7).double()
    p = (model[0].weight.square().sum(1) + model[0].bias.square()).detach()
    n = model[2].weight.square().sum(0).detach()
    wanted = torch.linspace(-2, 3, 6).double()
    (name,) = flow.conserved_quantities(mlp_symmetries(model))
    close(model, X, {name: wanted}, symmetries=mlp_symmetries(model))
    found = model[0].weight.square().sum(1) + model[0].bias.square()
    assert_close(found.detach(), (wanted + (wanted.square() + 4 * p * n).sqrt()) / 2)


def test_zero_is_the_smallest_point_of_the_orbit_that_teleport_finds():
    """Scalings reach it in closed form; matrices stop at a ridge, from where Newton's method goes on."""
    model = mlp(8, 6, 9, 7).double()
    twin = deepcopy(model)
    report, _ = close(model, X, symmetries=mlp_symmetries(model))
    Teleport(torch.optim.SGD(twin.parameters(), lr=0.1), mlp_symmetries(twin), Balance(), always).step()
    # The tolerance of the solver is sqrt(eps) in the log factors.
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert_close(p, q, rtol=1e-6, atol=1e-8)
    assert report.steps <= 1


def test_badly_scaled_networks_are_balanced():
    model = mlp(8, 6, 9, 7).double()
    symmetries = mlp_symmetries(model)
    symmetries.act_(symmetries.sample(3.0))
    report, _ = close(model, X, symmetries=symmetries)
    assert max(v.norm() for v in report.before.values()) > 1e3
    assert max(v.norm() for v in report.after.values()) < 1e-10


def test_only_what_is_named_moves():
    model = mlp(8, 6, 9, 7)
    before = deepcopy(model.state_dict())
    report, _ = close(model, X, {"R+^6 between 0.weight and 2.weight": 1.0}, symmetries=mlp_symmetries(model))
    assert_close(report.after["R+^6 between 0.weight and 2.weight"], torch.ones(6).double())
    changed = {n for n, p in model.state_dict().items() if not torch.equal(p, before[n].double())}
    assert changed == {"0.weight", "0.bias", "2.weight"}


def test_scales_in_front_of_a_norm_are_left_and_statistics_follow():
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6, eps=1e-14), nn.ReLU(), nn.Linear(6, 3)).double()
    model(X)
    weight = model[0].weight.detach().clone()
    report, quantities = close(model, X)
    kept = "R+^6 on 0.weight"
    assert_close(model[0].weight.detach(), weight)
    assert not quantities[kept].two_sided
    (other,) = [n for n in quantities if n.startswith("R+^6 between 1.weight")]
    assert report.after[other].norm() < 1e-10
    # In training mode outputs do not see the running statistics; in evaluation they must fit what has moved.
    model.eval()
    before = model(X).detach()
    model.train()
    flow.balance(model, isoloss.find(model, X), {kept: 4.0})
    assert_close(model[0].weight.square().sum(1).detach(), torch.full((6,), 4.0).double())
    assert_close(model.eval()(X), before, rtol=1e-9, atol=1e-9)


def test_translations_go_as_far_as_they_must():
    """A sum of a thousand is no large factor: it counts for nothing in how far matrices may go."""
    model = nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1)).double()
    symmetries = isoloss.find(model, X)
    with torch.no_grad():
        model[0].bias += 1e3
    report, quantities = close(model, X, symmetries=symmetries)
    assert all(bool(q.translations.all()) for q in quantities.values())
    assert max(v.norm() for v in report.before.values()) > 1e3
    assert max(v.norm() for v in report.after.values()) < 1e-9 and model[0].bias.mean().abs() < 1e-10


def test_float32_models_are_balanced_to_their_rounding():
    model = mlp(8, 6, 9, 7)
    flow.balance(model, mlp_symmetries(model))
    assert model[0].weight.dtype == torch.float32
    for value, size in flow.conserved_quantities(mlp_symmetries(model)).measured(model).values():
        assert value.norm() < 10 * torch.finfo(torch.float32).eps * size


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        (
            "dead",
            0.0,
            r"R\+\^6 between 0.weight and 2.weight, which approaches it only as factors go beyond exp\(12\)",
        ),
        ("absent", 1.0, "which stays 0.6"),
        ("narrow", 0.0, r"GL\(5\) .* lower rank"),
    ],
)
def test_a_target_that_is_not_attained_changes_nothing_and_says_why(change, target, message):
    narrow = change == "narrow"
    model = (mlp(3, 5, 2, activation=nn.Identity) if narrow else mlp(8, 6, 7)).double()
    symmetries = linear_symmetries(model) if narrow else mlp_symmetries(model)
    with torch.no_grad():
        if change in ("dead", "absent"):
            model[0].weight[0], model[0].bias[0] = 0.0, 0.0
        if change == "absent":
            model[2].weight[:, 0] = 0.0
    before = deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"target must be attained on the orbit; got .*{message}"):
        flow.balance(model, symmetries, target)
    assert_close(model.state_dict(), before, rtol=0.0, atol=0.0)


def test_by_default_what_cannot_be_zero_is_left_and_named():
    """A pair whose sides differ in rank and a dead neuron: the rest is balanced all the same."""
    model = nn.Sequential(
        nn.Linear(8, 4),
        nn.Linear(4, 6),
        nn.ReLU(),
        nn.Linear(6, 9),
        nn.Linear(9, 4),
        nn.ReLU(),
        nn.Linear(4, 2),
    ).double()
    with torch.no_grad():
        model[1].weight[2], model[1].bias[2] = 0.0, 0.0
    symmetries = isoloss.find(model, X).where(lambda s: s.linear)
    report, quantities = close(model, X, symmetries=symmetries)
    wide, dead = "GL(9) between 3.weight and 4.weight", "R+^6 between 1.weight and 3.weight"
    assert report.left.keys() == {wide, dead} and len(quantities) == 4
    assert report.left[wide] == "its sides have ranks 7 and 4, their product 4"
    assert report.left[dead] == "1 of 6 entries have one side that is zero"
    alive = torch.arange(6) != 2
    assert report.after[dead][alive].norm() < 1e-10 < report.after[dead][2].abs()
    for name in quantities.keys() - report.left.keys():
        assert report.after[name].norm() < 1e-10
    with pytest.raises(ValueError, match="target must be attained"):
        flow.balance(model, symmetries, 0.0)
    alone = symmetries.where(lambda s: s.group.n == 9)
    with pytest.raises(ValueError, match=r"one that can be zero; got GL\(9\) .*ranks 7 and 4"):
        flow.balance(model, alone)


def test_a_dead_head_is_left_and_the_others_are_balanced():
    model = nn.Sequential(nn.Unflatten(-1, (2, 4)), HeadAttention(4, 2)).double()
    symmetries = isoloss.find(model, X)
    quantities = flow.conserved_quantities(symmetries)
    heads = [n for n, q in quantities.items() if q.symmetry.batch == (2,) and of_matrices(q.symmetry.group)]
    name = heads[0]
    with torch.no_grad():
        for s in quantities[name].symmetry.slots:
            if s.charge > 0:
                block = s.block.view(dict(model.named_parameters())[s.parameter])
                block.select(s.dims[0], 1).zero_()
    report, _ = close(model, X, symmetries=symmetries)
    assert list(report.left) == [name] and "ranks 0 and" in report.left[name]
    assert report.after[name][0].norm() < 1e-10 < report.after[name][1].norm()


def test_it_is_atomic(monkeypatch):
    model = mlp(8, 6, 7)
    before = deepcopy(model.state_dict())

    def broken(pairs, where):
        raise KeyboardInterrupt

    monkeypatch.setattr(_balance, "write_atomically", broken)
    with pytest.raises(KeyboardInterrupt):
        flow.balance(model, mlp_symmetries(model))
    assert_close(model.state_dict(), before, rtol=0.0, atol=0.0)


def test_bad_targets_are_refused_in_one_sentence():
    model = mlp(8, 4, 7, activation=nn.Identity)
    name = "GL(4) between 0.weight and 2.weight"
    with pytest.raises(ValueError, match="named like a conserved quantity; got nothing.* names are GL"):
        flow.balance(model, linear_symmetries(model), {})
    with pytest.raises(ValueError, match="got 'a'"):
        flow.balance(model, linear_symmetries(model), {"a": 1.0})
    for bad in (torch.ones(4), torch.eye(4)[:, [1, 0, 3, 2]].triu(), float("nan")):
        with pytest.raises(ValueError, match="finite, symmetric and of shape"):
            flow.balance(model, linear_symmetries(model), {name: bad})
    with pytest.raises(ValueError, match="some symmetry must have a symmetric generator"):
        gelu = mlp(8, 4, 7, activation=nn.GELU)
        flow.balance(gelu, isoloss.find(gelu, X))


def test_what_is_no_number_of_steps_and_no_target_is_named():
    model = mlp(4, 5, 3).double()
    symmetries = mlp_symmetries(model)
    with pytest.raises(ValueError, match="steps must be a whole number of at least 0; got -1"):
        flow.balance(model, symmetries, 1.0, steps=-1)
    with pytest.raises(ValueError, match="must be finite.* got inf or nan"):
        flow.balance(model, symmetries, float("nan"))
