"""Barriers along lines and curves, all points at once."""

import builtins

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.testing import assert_close

from connect.points import draw, planted, run, sequential, tensors
from isoloss.connect import Barrier, Line, barrier, curve, plot_path, plot_profiles, profile
from isoloss.groups import PositiveScaling
from isoloss.teleport import Loss


def scaled():
    """A network at a scaled copy of itself, with targets it does not meet."""
    model, symmetries, x, a, *_ = planted("relu")
    symmetries = symmetries.only(PositiveScaling)
    b = a | symmetries.act([s.sample(1.0, dtype=torch.float64) for s in symmetries], a)
    y = draw(7, 3)
    return model, symmetries, a, b, lambda w: mse_loss(run(model, w, x), y)


def test_the_barrier_of_a_known_function():
    """L = w^4 between -1 and 2: ends 1 and 16, below the line; L = -w^2: (1 - t) t 9 above it, at most 9 / 4."""
    a, b = {"w": -torch.ones(1).double()}, {"w": 2 * torch.ones(1).double()}
    down = barrier(a, b, lambda w: -w["w"].square().sum())
    assert down.height == pytest.approx(2.25, rel=1e-14) and down.at == 0.5
    assert down.losses[0] == -1 and down.losses[-1] == -4
    assert barrier(a, b, lambda w: (w["w"] ** 4).sum()).height == 0.0
    numbers = down.as_dict()
    assert numbers["height"] == down.height and numbers["loss_end"] == -4.0
    assert -0.01 < numbers["loss_max"] <= 0.0 and numbers["at"] == 0.5


def test_points_together_are_points_one_by_one():
    model, _, a, b, loss = scaled()
    together = barrier(a, b, loss)
    assert together.height > 1e-3
    for options in ({"vectorized": False}, {"chunk": 7}, {"chunk": 1}):
        assert_close(barrier(a, b, loss, **options).losses, together.losses, rtol=1e-12, atol=1e-12)
    literal = [loss({n: (1 - t) * a[n] + t * b[n] for n in a}) for t in together.t]
    assert_close(together.losses, torch.stack(literal), rtol=1e-12, atol=1e-12)
    excess = [v - ((1 - t) * literal[0] + t * literal[-1]) for t, v in zip(together.t, literal, strict=True)]
    assert together.height == pytest.approx(max(map(float, excess)), rel=1e-9)


def test_the_curve_has_no_barrier_where_the_line_has_one():
    model, symmetries, a, b, loss = scaled()
    flat = barrier(a, b, loss, curve(a, b, symmetries))
    assert flat.variation < 1e-12 and flat.height < 1e-12
    assert barrier(a, b, loss).height > 1e-3


def test_the_loss_may_be_a_closure_over_the_model():
    model, symmetries, a, b, loss = scaled()
    x, y = draw(7, 4), draw(7, 3)
    closure = Loss(lambda: mse_loss(model(x), y), model)
    assert_close(
        barrier(model, b, closure).losses, barrier(model, b, lambda w: mse_loss(run(model, w, x), y)).losses
    )


def test_buffers_and_counters_are_carried_along():
    model = sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    other = sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    other[1].running_mean.add_(1.0)
    x = draw(5, 3)
    found = barrier(model, other, lambda w: run(model, w, x).square().mean(), n=5)
    middle = Line.between(model, other)(0.5)
    assert_close(middle["1.running_mean"], torch.full((4,), 0.5, dtype=torch.float64))
    assert middle["1.num_batches_tracked"].dtype == torch.int64
    assert_close(found.losses[2], run(model, middle, x).square().mean())


def test_a_path_that_does_not_join_the_points_is_refused():
    _, symmetries, a, b, loss = scaled()
    with pytest.raises(
        ValueError, match="the path must lead from the first point to the second; got another second point"
    ):
        barrier(a, b, loss, Line.between(a, a))
    with pytest.raises(ValueError, match="got another first point"):
        barrier(a, b, loss, Line.between(b, b))
    assert profile(Line.between(a, a), loss).height == pytest.approx(0.0, abs=1e-15)


def test_plots_come_back_as_figure_and_axes():
    _, symmetries, a, b, loss = scaled()
    figure, axes = plot_path(a, b, loss, {"line": "linear", "curve": curve(a, b, symmetries)}, n=11)
    assert axes.figure is figure and len(axes.lines) == 2
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["line", "curve"]
    again, same = plot_path(a, b, loss, n=5, ax=axes)
    assert same is axes and again is figure and len(axes.lines) == 3
    assert list(axes.lines[2].get_ydata()) == barrier(a, b, loss, n=5).losses.tolist()
    with pytest.raises(ValueError, match="profiles must be what connect.barrier returns"):
        plot_profiles({})


def test_without_matplotlib_the_message_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    one = Barrier(0.0, 0.0, torch.zeros(2), torch.zeros(2))
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'isoloss\[connect\]'"):
        plot_profiles(one)


def test_clear_sentences():
    model, _, a, b, loss = scaled()
    with pytest.raises(ValueError, match='path must be "linear" or a path; got'):
        barrier(a, b, loss, "bezier")
    with pytest.raises(ValueError, match='path must be "linear" or a path; got int'):
        barrier(a, b, loss, 3)
    with pytest.raises(ValueError, match="n must be a whole number of at least 2; got 1"):
        barrier(a, b, loss, n=1)
    with pytest.raises(ValueError, match="chunk must be a whole number of at least 1; got 0"):
        barrier(a, b, loss, chunk=0)
    with pytest.raises(ValueError, match=r"loss must return one number per point; got \(3,\)"):
        barrier(a, b, lambda w: w["4.bias"])
    with pytest.raises(ValueError, match="loss must be a function of the parameters by name; got str"):
        barrier(a, b, "loss")
    with pytest.raises(ValueError, match="the loss must be finite at both ends; got .* and nan"):
        barrier(a, b | {"4.bias": b["4.bias"] * torch.nan}, loss)
    with pytest.raises(ValueError, match="both points must have the same parameters"):
        barrier(model, tensors(sequential(nn.Linear(4, 3))), loss)
    with pytest.raises(ValueError, match="the path must hold the parameters of both points"):
        barrier(a, b, loss, lambda t: {})
