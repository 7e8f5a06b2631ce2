import pickle

import numpy as np
import pytest

from isoloss.teleport import always, at, epochs, every, first


def named(value):
    """A test id that is the same in every process: functions print with their address."""
    return getattr(value, "__name__", str(value))


def steps(schedule, n=12):
    return [step for step in range(n) if schedule(step)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (always, list(range(12))),
        (every(5), [0, 5, 10]),
        (every(5, until=10), [0, 5]),
        (every(5, until=0), []),
        (every(5, until=3), [0]),
        (every(np.int64(5)), [0, 5, 10]),
        (at(*np.arange(2)), [0, 1]),
        (at(3), [3]),
        (at(1, 4), [1, 4]),
        (at([1, 4], 7), [1, 4, 7]),
        (at(range(2, 4)), [2, 3]),
        (at(), []),
        (first(2), [0, 1]),
        (first(2, per_epoch=5), [0, 1, 5, 6, 10, 11]),
        (first(0), []),
        (epochs(0, 2, per_epoch=4), [0, 8]),
        (epochs([1], 2, per_epoch=4, minibatches=2), [4, 5, 8, 9]),
        (epochs(range(3), per_epoch=4), steps(every(4))),
        (epochs(per_epoch=4), []),
    ],
    ids=named,
)
def test_a_schedule_names_its_steps(schedule, expected):
    assert steps(schedule) == expected


@pytest.mark.parametrize(
    "schedule", [always, every(5), at(1, 2), first(2, per_epoch=5), epochs(1, per_epoch=3)], ids=named
)
def test_schedules_travel_to_other_processes(schedule):
    assert steps(pickle.loads(pickle.dumps(schedule))) == steps(schedule)


def test_schedules_print_as_they_are_written():
    assert repr(every(100, until=400)) == "every(n=100, until=400)"
    assert repr(first(2)) == "first(k=2, per_epoch=None)"


def test_bad_schedules_are_refused():
    for n in (0, -3, 2.5, "5", True, None):
        with pytest.raises(
            ValueError, match=r"every: n must be a whole number of at least 1; got .*; every\(1\)"
        ):
            every(n)
    for until in (-1, 5.5, "5", True):
        with pytest.raises(
            ValueError, match="every: until must be the number of a step, counted from 0; got "
        ):
            every(10, until=until)
    for steps in ([-1], [2.5], [True], ["12"], [[1, -2]], [None]):
        with pytest.raises(
            ValueError, match="at: steps must be whole numbers, counted from 0; got .*; write at"
        ):
            at(*steps)
    for k in (-1, 2.0, "2", True, None):
        with pytest.raises(ValueError, match="first: k must be a number of steps; got "):
            first(k)
    for n in (0, 2.5, "5", True):
        with pytest.raises(
            ValueError,
            match=r"first: per_epoch must be a whole number of at least 1; got .*; pass len\(loader\)",
        ):
            first(1, per_epoch=n)
    for wrong in (-1, 2.5, True, "0", [1, None]):
        with pytest.raises(
            ValueError, match="epochs: epochs must be whole numbers, counted from 0; got .*; write epochs"
        ):
            epochs(wrong, per_epoch=4)
    for options in (
        {"per_epoch": 0},
        {"per_epoch": 2.5},
        {"per_epoch": 4, "minibatches": 5},
        {"per_epoch": 4, "minibatches": 0},
    ):
        with pytest.raises(
            ValueError, match=r"epochs: per_epoch must be at least 1, and minibatches between 1 and"
        ):
            epochs(0, **options)
