"""A sweep on a local Dask cluster gives the numbers that one process gives."""

import joblib
import pytest

from isoloss.reproduce import EXPERIMENTS, reproduce

distributed = pytest.importorskip("distributed", reason="the extra isoloss[dask] is not installed")


@pytest.fixture
def cluster():
    # Threads of this process: a cluster like any other to joblib, without the seconds that new processes need.
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        yield client


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_sweep_on_a_dask_cluster(cluster, tmp_path):
    import json

    changes = {"seeds": 1, "epochs": 8}
    with joblib.parallel_config(backend="dask"):
        reproduce([EXPERIMENTS["regression"]], tmp_path / "dask", changes=changes)
    assert len(cluster.scheduler_info()["workers"]) == 1
    reproduce([EXPERIMENTS["regression"]], tmp_path / "here", changes=changes, jobs=1)
    finals = []
    for folder in ("dask", "here"):
        told = json.loads((tmp_path / folder / "regression" / "results.json").read_text())
        sweeps = told["results"]["contests"]
        finals.append({(o, c): entry["sweep"] for o, of in sweeps.items() for c, entry in of.items()})
    assert finals[0] == finals[1] and len(finals[0]) == 11
