"""Figures show what diverged without being stretched by it."""

import numpy as np

from isoloss.reproduce._figure import canvas, curve, frame_losses, logarithmic, panel_sweep


def axis():
    return canvas()[1][0, 0]


def test_sweep_is_clipped_and_what_is_beyond_is_marked():
    on = axis()
    told = {"a": [(0.1, 2.0), (1.0, 1.0), (10.0, 1e30)], "b": [(0.1, 3.0), (1.0, 2.0), (10.0, np.nan)]}
    panel_sweep(on, told, 0.1, {"a": 1.0, "b": 1.0})
    low, high = on.get_ylim()
    assert 0.1 < low < 1.0 and 3.0 < high < 1e6
    crosses = [line for line in on.lines if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [1, 1]
    assert crosses[0].get_xdata()[0] != crosses[1].get_xdata()[0]


def test_sweep_shows_everybody_at_the_shared_rate():
    on = axis()
    panel_sweep(on, {"a": [(0.1, 1.0)], "b": [(0.1, 1e-9)]}, 0.1, {"a": 0.1, "b": 0.1})
    assert on.get_ylim()[1] > 1.0


def test_line_ends_where_half_of_the_runs_have_diverged():
    on = axis()
    curve(on, range(3), [[4.0, 3.0, 2.0], [4.0, None, None], [4.0, 2.0, 1e20]], "a", 0)
    np.testing.assert_array_equal(on.lines[0].get_ydata(), [4.0, 3.0, np.nan])


def test_losses_are_framed_by_the_start():
    on = axis()
    frame_losses(on, [[2.0, 1.0], [2.0, 1e9, None], [None]])
    assert on.get_yscale() == "log" and on.get_ylim()[1] == 4.0 and 0.5 < on.get_ylim()[0] < 1.0


def test_ticks_are_plain_numbers_where_there_are_few_decades():
    on = axis()
    logarithmic(on, y=True)
    on.set_ylim(0.2, 3.0)
    on.figure.canvas.draw()
    shown = [t.get_text() for t in on.yaxis.get_ticklabels(which="both")]
    assert {"0.2", "0.5", "1", "2"} <= set(shown)
    on.set_ylim(1e-9, 1e3)
    on.figure.canvas.draw()
    assert not any(t.get_text() for t in on.yaxis.get_minorticklabels())
