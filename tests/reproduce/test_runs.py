"""Runs are kept as they finish, read and not repeated, in the order of the cases, on any joblib backend."""

import json
import os
import sys

import joblib
import pytest
import torch

from isoloss._store import Store
from isoloss.reproduce import Runs
from isoloss.reproduce._network import Perceptron, _found, symmetries
from isoloss.reproduce._runs import plain, spread

COUNTED = []


def double(settings, number):
    COUNTED.append(number)
    return {"twice": 2 * number, "settings": settings}


def failing(settings, number):
    if number == 2:
        raise KeyboardInterrupt
    return double(settings, number)


def process(settings, number):
    return {"process": os.getpid(), "threads": torch.get_num_threads(), "twice": 2 * number}


@pytest.fixture(autouse=True)
def nothing_counted():
    COUNTED.clear()


def cases(*numbers):
    return [{"number": n} for n in numbers]


def test_results_come_in_the_order_of_the_cases(tmp_path):
    runs = Runs("s", Store(tmp_path, {}), jobs=1)
    assert runs(double, cases(3, 1, 2)) == [{"twice": 2 * n, "settings": "s"} for n in (3, 1, 2)]


def test_finished_runs_are_not_repeated(tmp_path):
    Runs("s", Store(tmp_path, {}), jobs=1)(double, cases(1, 2))
    again = Runs("s", Store(tmp_path, {}), jobs=1)
    assert [r["twice"] for r in again(double, cases(2, 3, 1))] == [4, 6, 2]
    assert COUNTED == [1, 2, 3] and again.computed == 1
    assert [r["twice"] for r in Runs("s", Store(tmp_path, {"data": 2}), jobs=1)(double, cases(1))] == [2]
    assert COUNTED == [1, 2, 3, 1]


def test_interruption_keeps_what_is_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Runs("s", Store(tmp_path, {}), jobs=1)(failing, cases(1, 2, 3))
    assert [json.loads(p.read_text())["key"]["case"] for p in tmp_path.glob("*.json")] == [{"number": 1}]
    assert not list(tmp_path.rglob("*.part"))


def test_progress_counts_what_is_found_and_what_is_computed(tmp_path):
    Runs("s", Store(tmp_path, {}), jobs=1)(double, cases(1))
    told = []
    Runs("s", Store(tmp_path, {}), jobs=1, progress=lambda *t: told.append(t))(double, cases(1, 2, 3))
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[-1][2] == "double number 3"


def test_fresh_and_stored_runs_are_the_same(tmp_path):
    def run():
        return Runs((1.5, float("inf")), Store(tmp_path, {}), jobs=1)(double, cases(1))

    assert run() == run() == [{"twice": 2, "settings": [1.5, None]}]


def test_plain_is_what_json_gives_back():
    value = {1: (1, 2.0, float("nan")), "a": {"b": [float("inf"), True, None, "x"]}}
    assert plain(value) == {"1": [1, 2.0, None], "a": {"b": [None, True, None, "x"]}}


def test_workers_run_on_one_thread_each(tmp_path):
    with joblib.parallel_config(backend="threading", n_jobs=2):
        found = Runs("s", Store(tmp_path, {}))(process, cases(1, 2, 3))
    assert {r["threads"] for r in found} == {1} and [r["twice"] for r in found] == [2, 4, 6]


def test_backends_that_return_lists_only_are_used_too():
    """Ray's backend is one; joblib's multiprocessing is another."""
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        found = dict(spread([(double, "s", i, {"number": i}) for i in range(11)], None))
    assert found == {i: {"twice": 2 * i, "settings": "s"} for i in range(11)}


def test_missing_joblib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match=r"pip install 'isoloss\[reproduce\]'"):
        Runs("s", Store(tmp_path, {}))(double, cases(1))


def build(settings, number):
    """What a thread does that builds networks and finds their symmetries."""
    model = Perceptron((3, 4 + number % 3, 5, 2), torch.Generator().manual_seed(number))
    symmetries(model)
    return {"sum": sum(w.double().sum().item() for w in model.weights), "dtype": str(model.weights[0].dtype)}


def test_threads_of_one_worker_do_not_disturb_each_other(tmp_path):
    """find changes torch's default dtype, which belongs to the process."""
    _found.cache_clear()
    with joblib.parallel_config(backend="threading", n_jobs=4):
        together = Runs("s", Store(tmp_path / "a", {}))(build, cases(*range(12)))
    alone = Runs("s", Store(tmp_path / "b", {}), jobs=1)(build, cases(*range(12)))
    assert together == alone and {r["dtype"] for r in alone} == {"torch.float32"}
    assert torch.get_default_dtype() == torch.float32
