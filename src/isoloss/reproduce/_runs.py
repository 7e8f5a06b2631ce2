"""Independent runs: spread over workers by joblib, each kept as soon as it is finished."""

import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from isoloss._store import Store

Case = dict[str, Any]
Run = dict[str, Any]
Progress = Callable[[int, int, str], None]
"""Called with the runs finished, the runs known so far and what is being run."""


class Each(Protocol):
    """Runs a function of the settings and a case over many cases."""

    def __call__(self, function: Callable[..., Run], cases: Sequence[Mapping[str, Any]]) -> list[Run]:
        """The result of every case, in the order of the cases.

        Args:
            function: Of a module, so that workers can import it; called as function(settings, **case).
            cases: Keyword arguments that JSON can hold; they name the run in the store.
        """
        ...


class Runs:
    """`Each`, with finished runs kept in a folder.

    Workers are those of joblib: inside `joblib.parallel_config(backend="dask")` the runs go to that cluster.

    Args:
        settings: Given to every run.
        store: Where finished runs are kept.
        jobs: Workers; None for what joblib.parallel_config says, which is one if nobody said anything.
        progress: Told when a run is finished.
    """

    def __init__(
        self, settings: Any, store: Store, jobs: int | None = None, progress: Progress | None = None
    ):
        self.settings, self.store, self.jobs = settings, store, jobs
        self.progress = progress or (lambda done, total, text: None)
        self.done = self.total = self.computed = 0

    def __call__(self, function: Callable[..., Run], cases: Sequence[Mapping[str, Any]]) -> list[Run]:
        """See `Each`."""
        cases = [dict(case) for case in cases]
        keys = [{"function": function.__qualname__, "case": case} for case in cases]
        found = {i: run for i, key in enumerate(keys) if (run := self.store.read(key)) is not None}
        missing = [i for i in range(len(cases)) if i not in found]
        self.total += len(cases)
        self.done += len(found)
        self._tell(function.__name__, cases[missing[0]] if missing else {})
        for i, run in spread([(function, self.settings, i, cases[i]) for i in missing], self.jobs):
            self.store.write(keys[i], run)
            found[i] = run
            self.done += 1
            self.computed += 1
            self._tell(function.__name__, cases[i])
        return [found[i] for i in range(len(cases))]

    def _tell(self, name: str, case: Case) -> None:
        text = ", ".join(f"{key} {value}" for key, value in case.items())
        self.progress(self.done, max(self.total, 1), f"{name.strip('_').replace('_', ' ')} {text}"[:80])


Task = tuple[Callable[..., Run], Any, int, Case]


def spread(tasks: Sequence[Task], jobs: int | None) -> Iterator[tuple[int, Run]]:
    """The results in the order in which they become known, with the numbers of their tasks.

    Raises:
        ImportError: If joblib is absent.
    """
    if not tasks:
        return
    joblib = joblib_()
    try:
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs")
        results = parallel(joblib.delayed(_run)(task) for task in tasks)
    except ValueError as error:  # Ray's backend returns lists only
        if "return_as" not in str(error):
            raise
        yield from _in_batches(tasks, jobs)
        return
    yield from results


def _in_batches(tasks: Sequence[Task], jobs: int | None) -> Iterator[tuple[int, Run]]:
    joblib = joblib_()
    parallel = joblib.Parallel(n_jobs=jobs)
    size = 4 * max(parallel.n_jobs if parallel.n_jobs > 0 else joblib.effective_n_jobs(jobs), 1)
    for start in range(0, len(tasks), size):
        yield from parallel(joblib.delayed(_run)(task) for task in tasks[start : start + size])


def _run(task: Task) -> tuple[int, Run]:
    """One run on one thread: the networks are small, and the workers share the cores."""
    function, settings, i, case = task
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return i, plain(function(settings, **case))
    finally:
        torch.set_num_threads(threads)


def plain(value: Any) -> Any:
    """The value as JSON gives it back: lists for tuples, text for keys, None for numbers that are not finite."""
    return json.loads(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def joblib_() -> Any:
    """Joblib, which is optional.

    Raises:
        ImportError: If it is absent.
    """
    try:
        return importlib.import_module("joblib")
    except ImportError as error:
        raise ImportError(
            "reproduce: runs are spread by joblib, which is absent: pip install 'isoloss[reproduce]'."
        ) from error
