"""Prop. 6.4.4: a symmetry for batches of d points is one for fewer, on which others are appended."""

from dataclasses import dataclass

import pytest
import torch
from torch.func import functional_call, jacrev
from torch.nn.functional import batch_norm
from torch.testing import assert_close

from discovery.extension.models import Between, unseen
from isoloss.discovery._symmetry import DiscoveredSymmetry
from isoloss.discovery.extension import extend, restrict
from isoloss.groups import Translation
from isoloss.symmetry import Symmetries
from networks import mlp

D, FEWER = 5, 2


def points(n: int) -> torch.Tensor:
    return torch.randn(n, 3, dtype=torch.float64)


@dataclass(frozen=True)
class Tangent:
    """Velocities projected on the null space of the Jacobian of some values, which the flow therefore keeps."""

    values: object
    directions: dict

    def __call__(self, c, params, data):
        names = list(params)
        jacobians = jacrev(lambda p: self.values(p, data))(params)
        j = torch.cat([jacobians[n].flatten(1) for n in names], 1)
        wanted = torch.cat([torch.tensordot(c, self.directions[n], 1).flatten() for n in names])
        v = wanted - j.mT @ torch.linalg.solve(j @ j.mT, j @ wanted)
        parts = v.split([params[n].numel() for n in names])
        return {n: part.reshape(params[n].shape) for n, part in zip(names, parts, strict=True)}


def on_network(values, steps: int = 16) -> DiscoveredSymmetry:
    """Of d points of a network of one hidden layer, which has 25 parameters."""
    model = NETWORK
    directions = {n: 0.3 * torch.randn(2, *p.shape, dtype=torch.float64) for n, p in model.named_parameters()}
    return DiscoveredSymmetry(
        group=Translation(2),
        field=Tangent(values, directions),
        names=tuple(directions),
        data=points(D),
        steps=steps,
    )


NETWORK = mlp(3, 5, 1, activation=torch.nn.Tanh).double()


def outputs(params, x):
    return functional_call(NETWORK, params, (x,)).flatten()


@pytest.fixture
def tensors():
    return {n: p.detach().clone() for n, p in NETWORK.named_parameters()}


def change(symmetry, tensors, values, x) -> float:
    g = torch.tensor([0.8, -0.6], dtype=torch.float64)
    moved = tensors | symmetry.act(g, tensors)
    assert max(float((moved[n] - t).abs().max()) for n, t in tensors.items()) > 0.05
    return float((values(moved, x) - values(tensors, x)).abs().max())


def test_the_smaller_batch_stays_and_others_do_not(tensors):
    symmetry = on_network(outputs)
    fewer, others = points(FEWER), points(8)
    small = restrict(symmetry, fewer, points)
    # The integrator's error, steps of 1/16 to the fourth power: below 1e-5.
    assert change(small, tensors, outputs, fewer) < 1e-5
    assert change(small, tensors, outputs, others) > 1e-3


def test_more_steps_show_that_only_the_integrator_errs(tensors):
    symmetry, fewer = on_network(outputs), points(FEWER)
    rough, fine = (
        change(restrict(s, fewer, points), tensors, outputs, fewer)
        for s in (symmetry, DiscoveredSymmetry(**{**vars(symmetry), "steps": 32}))
    )
    # A sixteenth at the fourth order; at least a quarter of that is seen.
    assert fine < rough / 4


def test_it_is_the_symmetry_on_the_batch_and_the_filler():
    """a'_X = a_{t(X)}, to the bit; the filler that is needed is the first of what there is."""
    symmetry, filler, fewer = unseen(points=4), torch.randn(3, 6, dtype=torch.float64), torch.randn(2, 6)
    small = restrict(symmetry, fewer.double(), filler)
    tensors = {"weight": torch.randn(6, 6, dtype=torch.float64)}
    g = torch.randn(2, dtype=torch.float64)
    literal = symmetry.at(torch.cat([fewer.double(), filler[:2]])).act(g, tensors)
    assert_close(small.act(g, tensors), literal, rtol=0, atol=0)
    alone = torch.randn(1, 6, dtype=torch.float64)
    literal = symmetry.at(torch.cat([alone, filler])).act(g, tensors)
    assert_close(small.at(alone).act(g, tensors), literal, rtol=0, atol=0)
    full = torch.randn(4, 6, dtype=torch.float64)
    assert_close(small.at(full).act(g, tensors), symmetry.at(full).act(g, tensors), rtol=0, atol=0)


def test_the_filler_is_fixed_by_the_seed_and_torchs_numbers_go_on():
    symmetry, fewer = unseen(), torch.randn(1, 6, dtype=torch.float64)

    def sampler(n):
        return torch.randn(n, 6, dtype=torch.float64)

    state = torch.get_rng_state()
    one, same, other = (restrict(symmetry, fewer, sampler, seed=s) for s in (3, 3, 4))
    assert_close(torch.get_rng_state(), state)
    tensors, g = {"weight": torch.randn(6, 6, dtype=torch.float64)}, torch.ones(2, dtype=torch.float64)
    assert_close(one.act(g, tensors), same.act(g, tensors), rtol=0, atol=0)
    assert float((one.act(g, tensors)["weight"] - other.act(g, tensors)["weight"]).abs().max()) > 1e-3


def test_points_drawn_anew_each_time_keep_the_values_but_are_no_action():
    """A gap in the proof: "appends d - d' random data points". Then -g after g does not lead back."""
    symmetry, x = unseen(), torch.randn(1, 6, dtype=torch.float64)

    def drawn(_seed):
        return symmetry.at(torch.cat([x, torch.randn(2, 6, dtype=torch.float64)]))

    def fixed(seed):
        return restrict(symmetry, x, lambda n: torch.randn(n, 6, dtype=torch.float64), seed=0)

    start = {"weight": torch.randn(6, 6, dtype=torch.float64)}
    g = torch.ones(2, dtype=torch.float64)
    for t, returns in ((drawn, False), (fixed, True)):
        away = t(1).act(g, start)
        back = t(2).act(-g, away)
        assert_close(x @ back["weight"].mT, x @ start["weight"].mT, rtol=1e-12, atol=1e-12)
        assert (float((back["weight"] - start["weight"]).abs().max()) < 1e-12) == returns


def test_what_is_kept_for_all_points_together_is_not_kept_for_some(tensors):
    """A mean over the batch: the values of the points must stay one by one."""

    def mean(params, x):
        return outputs(params, x).square().mean()[None]

    symmetry, fewer = on_network(mean), points(FEWER)
    assert change(symmetry, tensors, mean, symmetry.data) < 1e-5
    assert change(restrict(symmetry, fewer, points), tensors, mean, fewer) > 1e-3


def test_points_that_meet_in_a_batch_norm_are_not_kept(tensors):
    """The function must treat each point by itself, as Prop. 6.4.4 asks."""

    def meeting(params, x):
        hidden = (x @ params["0.weight"].mT + params["0.bias"]).tanh()
        return (batch_norm(hidden, None, None, training=True) @ params["2.weight"].mT).flatten()

    symmetry, fewer = on_network(meeting), points(3)
    assert change(symmetry, tensors, meeting, symmetry.data) < 1e-5
    assert change(restrict(symmetry, fewer, points), tensors, meeting, fewer) > 1e-3


def test_restricted_and_extended_in_either_order():
    """A symmetry for three points, on two, of a part of a whole."""
    model, x = Between().double(), torch.randn(2, 4, dtype=torch.float64)
    small = restrict(unseen(), torch.randn(2, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64))
    inner = extend(small, into=model, at="f", inputs=x, tolerance=1e-12)
    whole = extend(unseen(), into=model, at="f", inputs=torch.randn(3, 4, dtype=torch.float64))
    outer = restrict(whole, x, torch.randn(1, 4, dtype=torch.float64))
    y = model(x).detach()
    for symmetry in (inner, outer):
        found = Symmetries([symmetry], model)
        weight = model.f.weight.detach().clone()
        found.act_(found.sample())
        assert_close(model(x).detach(), y, rtol=1e-12, atol=1e-12)
        assert float((model.f.weight - weight).detach().abs().max()) > 1e-3


def test_data_may_be_trees():
    base = unseen()
    symmetry = DiscoveredSymmetry(
        group=base.group,
        field=lambda c, p, data: base.field(c, p, data["x"]),
        names=base.names,
        data={"x": base.data, "y": torch.zeros(3, dtype=torch.float64)},
    )
    fewer = {"x": torch.randn(1, 6, dtype=torch.float64), "y": torch.zeros(1, dtype=torch.float64)}
    small = restrict(symmetry, fewer, lambda n: {"x": torch.randn(n, 6), "y": torch.zeros(n)})
    weight = torch.randn(6, 6, dtype=torch.float64)
    moved = small.act(torch.ones(2, dtype=torch.float64), {"weight": weight})["weight"]
    assert_close(fewer["x"] @ moved.mT, fewer["x"] @ weight.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("data", "filler", "options", "message"),
    [
        (torch.randn(4, 6), torch.randn(2, 6), {}, "at most the 3 points of the symmetry; got 4"),
        (torch.randn(1, 6), torch.randn(1, 6), {}, "must be 2 points to append to 1, for 3; got 1"),
        (
            torch.randn(1, 6),
            torch.randn(2, 5),
            {},
            r"have the shape of those of the data; got \(5,\) for \(6,\)",
        ),
        (torch.randn(1, 6), {"x": torch.randn(2, 6)}, {}, "return the same tree of tensors"),
        (torch.randn(1, 6), torch.randn(2, 6), {"size": 0}, "size must be a positive integer; got 0"),
        (torch.tensor(1.0), torch.randn(2, 6), {}, "the points along their first axis"),
        (
            (torch.randn(1, 6), torch.randn(2)),
            torch.randn(2, 6),
            {},
            r"as many in each; got lengths \['1', '2'\]",
        ),
    ],
)
def test_batches_that_do_not_fit_are_refused(data, filler, options, message):
    with pytest.raises(ValueError, match=message):
        restrict(unseen(), data, filler, **options)


def test_what_depends_on_no_data_is_refused():
    free = DiscoveredSymmetry(group=Translation(1), field=lambda c, p, data: p, names=("weight",))
    with pytest.raises(
        TypeError, match="got DiscoveredSymmetry without data; an exact one holds for every batch"
    ):
        restrict(free, torch.randn(1, 6), torch.randn(2, 6))
