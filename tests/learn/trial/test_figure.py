"""The figure shows what there is."""

import numpy as np

from isoloss.learn.trial import plot
from learn.trial.results import results, run

HISTORY = [
    {"run": 0, "meta_loss": 2.0, "validation": None},
    {"run": 1, "meta_loss": None, "validation": 1.5},
    {"run": 2, "meta_loss": 1.0, "validation": 0.5},
]
JUMPS = {"jumps": [0, 5], "gains": [[2.0, None], [3.0, 1.0]], "changes": [[1e-9, 2e-8], [0.0, 0.0]]}


def drawn(**learned):
    losses = [[8.0, 2.0, 1.0], [9.0, 3.0, 2.0], [10.0, 4.0, 3.0]]
    contenders = {"learned": run(losses, **learned), "gd": run([[8.0, None, None]] * 3, rate=0.1)}
    figure, axes = plot(results(contenders, history=HISTORY))
    figure.canvas.draw()
    return axes


def test_panels_without_teleports():
    axes = drawn()
    assert axes.shape == (1, 2)
    lines = {line.get_label(): line for line in axes[0, 0].lines}
    np.testing.assert_array_equal(lines["update,tele"].get_ydata(), [9.0, 3.0, 2.0])
    np.testing.assert_array_equal(lines["GD (0.1)"].get_ydata(), [8.0, np.nan, np.nan])
    low, high = axes[0, 0].get_ylim()
    assert low < 2.0 and 10.0 < high < 100.0  # the lowest median is 2
    training, validation, kept = axes[0, 1].lines
    np.testing.assert_array_equal(training.get_ydata(), [2.0, np.nan, 1.0])
    np.testing.assert_array_equal(validation.get_ydata(), [1.5, 0.5])
    assert list(kept.get_ydata()) == [0.5] and list(kept.get_xdata()) == list(training.get_xdata())[2:]


def test_an_untrained_optimizer_that_was_kept_is_ringed_at_the_start():
    told = results({"learned": run([[8.0, 2.0, 1.0]] * 3)}, history=HISTORY, validation=0.2, untrained=True)
    *_, kept = plot(told)[1][0, 1].lines
    assert kept.get_label() == "untrained: kept"
    assert (list(kept.get_xdata()), list(kept.get_ydata())) == ([0], [0.2])


def test_every_teleport_is_a_dot_and_those_that_were_refused_are_rings():
    axes = drawn(**JUMPS, sizes=[[1.0, 1.0], [1.0, 0.0]])
    taken, refused = axes[0, 2].collections
    np.testing.assert_allclose(
        taken.get_offsets(), [[1e-9, 2.0], [1e-17, 3.0]]
    )  # what is no number is not shown
    np.testing.assert_allclose(refused.get_offsets(), [[1e-17, 1.0]])
    x, y = axes[0, 2].get_xlim(), axes[0, 2].get_ylim()
    assert x[0] < 1e-17 and x[1] > 1e-9 and y[0] < 1.0 and y[1] > 3.0


def test_all_losses_at_zero_or_infinite_can_be_drawn():
    for value in (0.0, None):
        figure, _ = plot(results({"learned": run([[value] * 3] * 2)}, history=HISTORY))
        figure.canvas.draw()
