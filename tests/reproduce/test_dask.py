"""A sweep on a local Dask cluster gives the numbers that one process gives."""

import json
import os
import socket

import joblib
import pytest

from isoloss.reproduce import EXPERIMENTS, reproduce

distributed = pytest.importorskip("distributed", reason="the extra isoloss[dask] is not installed")
dask = pytest.importorskip("dask", reason="the extra isoloss[dask] is not installed")

PATIENCE = "120s"
"""For workers to start and to answer: a loaded machine takes its time."""

CHANGES = {"seeds": 1, "epochs": 6}
IGNORED = ("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
warnings_of_dask = [pytest.mark.filterwarnings(rule) for rule in IGNORED]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return sweeps(tmp_path_factory.mktemp("here"), jobs=1)


def sweeps(folder, **options):
    """The final losses of every sweep of the regression."""
    reproduce([EXPERIMENTS["regression"]], folder, changes=CHANGES, **options)
    told = json.loads((folder / "regression" / "results.json").read_text())["results"]["contests"]
    return {(o, c): entry["sweep"] for o, of in told.items() for c, entry in of.items()}


def cluster(**options):
    """A local cluster; the test is skipped where no socket can be opened."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        pytest.skip(f"a cluster needs sockets, which are forbidden here: {error}")
    return distributed.LocalCluster(dashboard_address=None, **options)


class TestThreads:
    pytestmark = warnings_of_dask

    def test_sweep(self, alone, tmp_path):
        with cluster(processes=False, n_workers=1, threads_per_worker=2) as local, distributed.Client(local):
            with joblib.parallel_config(backend="dask"):
                assert sweeps(tmp_path) == alone
        assert len(alone) == 11


class TestProcesses:
    pytestmark = warnings_of_dask

    def test_sweep(self, alone, tmp_path):
        patience = {"distributed.comm.timeouts.connect": PATIENCE, "distributed.comm.timeouts.tcp": PATIENCE}
        with dask.config.set(patience):
            options = {"processes": True, "n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
            with cluster(**options) as local, distributed.Client(local, timeout=PATIENCE) as client:
                client.wait_for_workers(2, timeout=PATIENCE)
                workers = set(client.run(os.getpid).values())
                with joblib.parallel_config(backend="dask"):
                    assert sweeps(tmp_path) == alone
                ran = client.run(lambda dask_worker: len(dask_worker.state.log))
        assert len(workers) == 2 and os.getpid() not in workers
        assert all(number > 0 for number in ran.values())
