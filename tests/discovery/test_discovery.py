"""What was learned: directions, group elements, curves, and what it says of itself."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from discovery.losses import SCALAR, TANH
from isoloss.discovery import Recipe, discover

EPS = torch.finfo(torch.float64).eps
SHORT = Recipe(steps=20, batch=16, validate=10, validation=32)


@pytest.fixture(scope="module")
def linear():
    """With the true generator."""
    found = discover(*SCALAR, action="linear", recipe=SHORT)
    return replace(found, generators=torch.diag(torch.tensor([1.0, -1.0]).double())[None])


@pytest.fixture(scope="module")
def bent():
    return discover(*TANH, n_generators=2, recipe=SHORT, options={"width": 8})


def draw(case, n):
    torch.manual_seed(5)
    return case[1](n), case[2](n)


def test_directions_are_those_of_the_action(linear):
    params, data = draw(SCALAR, 7)
    expected = torch.stack([params["a"], -params["b"]], 1).double()[:, None]
    assert_close(linear.directions(params, data), expected, rtol=0, atol=0)


def test_elements_are_exponentials(linear):
    e = torch.tensor(2.0).exp().double()
    assert_close(linear.elements(2.0)[0], torch.diag(torch.stack([e, 1 / e])), rtol=1e-6, atol=0)
    torch.testing.assert_close(linear.elements(0.0)[0], torch.eye(2).double(), rtol=0, atol=0)


def test_elements_act(linear):
    params, data = draw(SCALAR, 7)
    moved = linear.act(torch.diag(torch.tensor([2.0, 0.5])), params, data)
    assert moved.keys() == params.keys()
    assert_close(moved["a"], 2.0 * params["a"].double(), rtol=0, atol=0)
    assert_close(moved["b"], 0.5 * params["b"].double(), rtol=0, atol=0)
    each = torch.stack([torch.diag(torch.tensor([1.0 + i, 1.0])) for i in range(7)])
    assert_close(linear.act(each, params, data)["a"], torch.arange(1.0, 8).double() * params["a"].double())


def test_curves_of_a_group_action_are_one_and_keep_the_loss(linear):
    params, data = draw(SCALAR, 5)
    one = torch.ones(1)
    flow, mapped = (linear.curve(one, params, data, 0.5, 9, form=form) for form in ("flow", "map"))
    assert flow.shape == (9, 5, 2)
    start = linear.params.flat(params).double()
    assert torch.equal(flow[0], start) and torch.equal(mapped[0], start)
    losses, x = linear.losses(), linear.data.flat(data).double()
    values = torch.stack([losses(theta, x) for theta in flow])
    # Runge-Kutta at steps of 1/32 and a curvature of at most 1 / |theta|: errors of step^4.
    assert_close(values, values[0].expand_as(values), rtol=0, atol=1e-4)
    # Times up to 4 in 400 steps, each a chord.
    far = (flow - mapped).norm(dim=-1) / start.norm(dim=1)
    assert float(far.max()) < 0.01
    length = (mapped[1:] - mapped[:-1]).norm(dim=-1).sum(0)
    assert_close(length, torch.full((5,), 0.5).double(), rtol=0.01, atol=0)


def test_coefficients_combine_generators_and_may_differ_by_sample(bent):
    params, data = draw(TANH, 3)
    c = torch.randn(3, 2)
    together = bent.curve(c, params, data, 0.3, 3)
    for i in range(3):
        part = {k: v[i : i + 1] for k, v in params.items()}, {k: v[i : i + 1] for k, v in data.items()}
        assert_close(together[:, i : i + 1], bent.curve(c[i], *part, 0.3, 3), rtol=1e-12, atol=1e-12)
    back = bent.curve(-c, params, data, 0.3, 3)
    middle = together[1] + back[1] - 2 * together[0]
    assert float(middle.norm()) < 0.1 * float((together[1] - together[0]).norm())  # opposite ways


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"coefficients": torch.ones(3)}, r"\(k,\) or \(n, k\), here \(2,\) or \(4, 2\); got \(3,\)"),
        ({"coefficients": torch.ones(3, 2)}, r"got \(3, 2\)"),
        ({"length": 0.0}, "length must be positive and points at least 2; got 0.0 and 33"),
        ({"length": float("inf")}, "length must be positive"),
        ({"points": 1}, "points at least 2; got 1.0 and 1"),
        ({"form": "arc"}, "form must be flow or map; got 'arc'"),
    ],
)  # fmt: skip
def test_curves_that_are_none_are_refused(bent, settings, told):
    params, data = draw(TANH, 4)
    with pytest.raises(ValueError, match=f"Discovery.curve: .*{told}|{told}"):
        bent.curve(**{"coefficients": torch.ones(2), "params": params, "data": data} | settings)


def test_samples_go_together(bent):
    with pytest.raises(ValueError, match="as many samples of data as of parameters; got 3 and 4"):
        bent.directions(draw(TANH, 4)[0], draw(TANH, 3)[1])
    with pytest.raises(ValueError, match="samples must be alike from call to call"):
        bent.directions({"u": torch.ones(2, 3, 2)}, draw(TANH, 2)[1])


def test_it_says_what_it_is(linear, bent):
    lost = replace(linear.grade, invariance=(0.5,))
    assert str(replace(linear, grade=lost)).startswith("not found: the loss is not invariant")
    fine = replace(linear.grade, invariance=(0.01,), typical=(0.01,), norms=(1.0,), independent=1)
    told = str(replace(linear, grade=fine))
    assert told.startswith(
        "found 1 generator on 2 parameters, the same on all data; slopes of the loss relative"
    )
    alone = replace(linear, grade=replace(fine, data_dependence=float("nan")))
    assert str(alone).startswith(
        "found 1 generator on 2 parameters, on the only data that were drawn; slopes"
    )
    assert replace(linear, grade=fine).error == 0.01
    assert "2 generators on 9 parameters" in str(bent)


def test_without_its_loss_it_has_no_values(linear):
    with pytest.raises(
        ValueError, match="this was read from a file, which does not hold the loss; load it with loss"
    ):
        replace(linear, loss=None).losses()
