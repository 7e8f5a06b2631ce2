"""Every experiment at a tiny setting: complete, with a verdict, a figure that can be drawn, and numbers that repeat."""

import json

import pytest
import torch

from isoloss.reproduce import EXPERIMENTS, Finding, reproduce
from isoloss.reproduce.experiments._shared_images import optimizer, task, teleports
from reproduce.images import write_images

IMAGES = {"samples": 60, "held_out": 20, "epochs": 2, "seeds": 1, "batch": 30}

HEADS = {
    "samples": 60,
    "held_out": 20,
    "epochs": 1,
    "seeds": 1,
    "batch": 30,
    "channels": 2,
    "width": 4,
    "members": 3,
    "action_batch": 20,
    "evaluation_batch": 10,
}

TRAINED = {
    "seeds": 2,
    "runs": 2,
    "batch": 4,
    "horizon": 6,
    "unroll": 3,
    "rates": (1.0,),
    "tasks": 6,
    "beyond": 2,
}

LEARNED = {
    "size": 3,
    "seeds": 1,
    "tests": 2,
    "horizon": 4,
    "times": 2,
    "trajectories": 2,
    "batch": 2,
    "published": (1, 1, 1),
    "teleports": 1,
}

DISCOVERED = {"seeds": 1, "published_steps": 4, "budget": 0.002, "points": 8}

TINY = {
    "plane": {"charges": (-1.0, 1.0), "points": 5, "time": 1.0},
    "orbits": {"seeds": 1, "outer": (1, 2), "hidden": (1, 3)},
    "conserved": {"sets": 30, "dimensions": ((3, 5, 4), (6, 2, 3)), "square": 6},
    "imbalance": {
        "seeds": 2,
        "sizes": (2, 6, 3),
        "steps": 30,
        "points": 4,
        "tuned_rates": 3,
        "tuned_steps": 20,
    },
    "radial": {"seeds": 1, "charges": (1.0, 10.0), "steps": 20, "points": 4},
    "eigenvalues": {"seeds": 1, "sizes": (3, 7, 2), "steps": 300, "deviations": (0.25, 0.5)},
    "drift": {"seeds": 2, "sizes": (2, 6, 3), "steps": 40, "points": 5},
    "ensembles": HEADS | {"epsilons": (0.1, 1.0)},
    "attacks": HEADS
    | {"epsilons": (0.5,), "strengths": (1.0, 2.0), "attacked": 20, "pgd_attacked": 10, "pgd_steps": 2},
    "components": {
        "layers": (2, 3),
        "widths": (1, 2),
        "samples": 8,
        "chord_weights": 4,
        "shown": 30,
        "seeds": 1,
    },
    "interpolation": {
        "factors": (2.0, 8.0),
        "heights": (1.0,),
        "degrees": (0.5, 1.0),
        "hidden": 3,
        "seeds": 1,
    },
    "curves": {
        "networks": 4,
        "most": 12,
        "steps": 5,
        "widths": (4, 6, 3),
        "batches": (3, 9),
        "curves": 2,
        "curve_steps": 20,
        "points": 5,
        "seeds": 2,
    },
    "rosenbrock": {"seeds": 3, "steps": 120},
    "booth": {"seeds": 3},
    "regression": {"seeds": 1, "epochs": 4, "teleport_at": 1},
    "mnist": IMAGES | {"hidden": (6, 5), "minibatches": 2, "steps": 1},
    "convergence": {"seeds": 1, "steps": (1, 2), "rates": (1e-9, 1e-8), "most": 40},
    "schedules": IMAGES
    | {
        "hidden": (6, 5),
        "minibatches": 2,
        "steps": 1,
        "once_at": (0, 1),
        "intervals": (0, 1),
        "numbers": (1, 2),
    },
    "runtime": {
        "seeds": 1,
        "epochs": 4,
        "every": 2,
        "steps": 1,
        "dimensions": (8, 12),
        "layers": (2, 3),
        "layer_dimension": 8,
    },
    "minima": IMAGES
    | {
        "datasets": ("mnist", "cifar10"),
        "models": 6,
        "hidden": (6, 5),
        "hidden_cifar10": (5, 4),
        "directions": 2,
        "displacements": 2,
        "sharpness_samples": 40,
        "curvature_samples": 4,
        "seeds": 1,
    },
    "distance": {"shifts": (0.5, 1.0), "curvatures": 5, "angles": 16},
    "generalization": IMAGES
    | {
        "hidden": (6, 5),
        "teleport_at": 1,
        "minibatches": 1,
        "minibatch": 30,
        "phi_steps": 1,
        "directions": 2,
        "displacements": 2,
    },
    "strategies": {"seeds": 1, "epochs": 4, "teleport_at": 1, "steps": 2},
    "optimizers": IMAGES
    | {"hidden": (6, 5), "minibatches": 1, "minibatch": 20, "steps": 1, "adagrad_teleport_at": 1},
    "learned": LEARNED,
    "learned-momentum": LEARNED,
    "on-the-fly": {
        "seeds": 3,
        "steps": 3,
        "rates": 5,
        "group_rates": (1.0, 10.0),
        "points": 30,
        "dimensions": 3,
    },
    "l2o-booth": TRAINED,
    "l2o-rosenbrock": TRAINED,
    "discovered-scalar": DISCOVERED,
    "discovered-known": DISCOVERED | {"networks": ("relu",)},
    "discovered-sigmoid": DISCOVERED,
    "discovered-tanh": DISCOVERED | {"networks": ("three-layer",)},
    "discovered-curves": DISCOVERED
    | {"networks": ("scalar", "skip"), "starts": 3, "curve_points": 4, "random": 2},
    "discovered-transformer": DISCOVERED,
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_images(folder, "mnist", (5, 5))
    write_images(folder, "cifar10_small", (4, 4, 3))
    return folder


def test_every_experiment_has_a_tiny_setting():
    assert TINY.keys() == EXPERIMENTS.keys()


@pytest.mark.parametrize("name", TINY)
def test_experiment_is_complete(name, folder, tmp_path):
    changes = TINY[name] | {"data": str(folder)}
    (outcome,) = reproduce([EXPERIMENTS[name]], tmp_path, changes=changes, jobs=1)
    assert outcome.reason is None
    told = json.loads((tmp_path / name / "results.json").read_text())
    assert (
        told["verdict"] == outcome.verdict in ("reproduced", "reproduced in part", "not reproduced", "open")
    )
    kinds = [f["kind"] for f in told["findings"]]
    assert "paper" in kinds and (name == "distance" or "control" in kinds)
    assert all(f["evidence"] and f["statement"] for f in told["findings"])
    assert (tmp_path / name / "figure.png").stat().st_size > 5_000
    again = EXPERIMENTS[name].judge(told["results"])
    assert [Finding(**f) for f in told["findings"]] == again


@pytest.mark.parametrize("name", ["minima", "strategies", "attacks"])
def test_equal_seeds_give_equal_numbers(name, folder, tmp_path):
    changes = TINY[name] | {"data": str(folder)}
    told = []
    for part in ("a", "b"):
        reproduce([EXPERIMENTS[name]], tmp_path / part, changes=changes, jobs=1)
        told.append(json.loads((tmp_path / part / name / "results.json").read_text())["results"])
    assert _timeless(told[0]) == _timeless(told[1])


def _timeless(value):
    """Everything but what a clock says."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if "seconds" not in k}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_reductions_are_fewer_not_more(experiment):
    """A quick setting changes sizes only, and every one of them downwards."""
    for name, (paper, quick) in experiment.reductions(experiment.configure(quick=True)).items():
        assert not name.endswith("rate"), f"{name} changes what is claimed"
        pairs = zip(_numbers(paper), _numbers(quick), strict=False)
        assert len(_numbers(quick)) <= len(_numbers(paper)) and all(q <= p for p, q in pairs), name


def _numbers(value):
    return [v for v in (value if isinstance(value, tuple) else (value,)) if not isinstance(v, str)]


def test_missing_data_is_told(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("isoloss.reproduce._data.load", offline)
    names = ("minima", "mnist", "distance")
    changes = TINY["mnist"] | TINY["minima"] | TINY["distance"] | {"data": str(tmp_path), "samples": 61}
    outcomes = reproduce([EXPERIMENTS[n] for n in names], tmp_path / "out", changes=changes, jobs=1)
    assert [o.verdict == "not run" for o in outcomes] == [True, True, False]
    assert "no network" in outcomes[0].reason and "no network" in outcomes[1].reason


@pytest.mark.parametrize(
    "contender", ["published", "difference", "isoloss", "scalings", "random", "reset only"]
)
@pytest.mark.parametrize("name", ["SGD", "AdaGrad"])
def test_teleports_bear_a_network_that_has_diverged(name, contender, folder):
    job = task("mnist", str(folder), (6, 5), 60, 20, 20, seed=0)
    chosen = optimizer(name, job.model, 0.1)
    put_broken(job.model)
    moves = teleports(
        contender, job, chosen, job.minibatches(2, 20), paper="2022", steps=2, rate=1e-3, reset=True
    )
    for move in moves:
        move()
    assert all(w.isnan().all() for w in job.model.weights[:1])


@torch.no_grad()
def put_broken(model):
    """What a step too long leaves behind."""
    for w in model.weights:
        w.mul_(torch.nan)
