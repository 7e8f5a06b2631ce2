"""The whole demo at a tiny size: complete, reproducible, resumable."""

import json

import numpy as np
import pytest

from isoloss.demo import Settings, _runs, plot, prepare, run
from isoloss.demo._contenders import CONTENDERS

TINY = {"width": 16, "epochs": 1, "batch": 8, "samples": 16, "seeds": 2, "teleports": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, run(prepare(Settings(out=out, **TINY)))


def without_time(results):
    """Everything but what a clock says."""
    if isinstance(results, dict):
        hidden = {"seconds", "out"}
        return {key: without_time(value) for key, value in results.items() if key not in hidden}
    return [without_time(value) for value in results] if isinstance(results, list) else results


def test_files_are_complete(finished):
    out, results = finished
    assert json.loads((out / "results.json").read_text()) == results
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in out.iterdir()} == {"results.json", "figure.png", "runs"}


def test_every_contender_ran_in_both_scenes(finished):
    _, results = finished
    assert list(results["scenes"]) == ["default", "badly scaled"]
    for scene in results["scenes"].values():
        assert list(scene["contenders"]) == [c.name for c in CONTENDERS]
        assert len(scene["verdicts"]) == 6
        for entry in scene["contenders"].values():
            assert [r["seed"] for r in entry["runs"]] == [0, 1]


def test_reported_rate_is_the_best_of_its_sweep(finished):
    _, results = finished
    for scene in results["scenes"].values():
        for entry in scene["contenders"].values():
            for reported in entry["runs"]:
                tried = {
                    p["learning_rate"]: p["training_loss"]
                    for p in entry["sweep"]
                    if p["seed"] == reported["seed"]
                }
                losses = {rate: loss for rate, loss in tried.items() if loss is not None}
                assert len(tried) >= 6 and min(losses, key=losses.get) == reported["learning_rate"]
                assert reported["training_loss"][-1] == losses[reported["learning_rate"]]


def test_jumps_are_where_they_should_be_and_change_no_loss(finished):
    _, results = finished
    scene = results["scenes"]["badly scaled"]
    assert scene["largest_change_of_outputs"] <= 1e-10
    jumps = {name: entry["runs"][0]["jumps"] for name, entry in scene["contenders"].items()}
    assert {name: len(of) for name, of in jumps.items()} == {
        "SGD": 0,
        "SGD + teleport": 2,
        "SGD + balance": 1,
        "Adam": 0,
        "Adam + balance": 1,
    }
    assert [j["epoch"] for j in jumps["SGD + teleport"]] == [0, 0.5]
    for of in jumps.values():
        for jump in of:
            # Float32: a sum of 16 losses over three layers of at most 64 products each, all relative to eps.
            assert jump["after"]["training_loss"] == pytest.approx(jump["before"]["training_loss"], rel=1e-5)
    for jump in jumps["SGD + teleport"]:
        assert jump["after"]["gradient_norm"] != jump["before"]["gradient_norm"]
    starts = [entry["runs"][0]["training_loss"][0] for entry in scene["contenders"].values()]
    assert len(set(starts)) == 1


def test_same_seeds_give_the_same_numbers_and_finished_runs_are_not_repeated(finished, tmp_path, monkeypatch):
    out, results = finished
    assert without_time(run(prepare(Settings(out=tmp_path, **TINY)))) == without_time(results)

    def fail(*_, **__):
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(_runs, "train", fail)
    assert without_time(run(prepare(Settings(out=out, **TINY)))) == without_time(results)
    with pytest.raises(AssertionError, match="trained again"):
        run(prepare(Settings(out=tmp_path, fresh=True, **TINY)))


def test_interrupted_demo_continues_where_it_stopped(finished, tmp_path, monkeypatch):
    _, results = finished
    trained = []
    original = _runs.train

    def counted(*arguments, **options):
        trained.append(1)
        return original(*arguments, **options)

    def stop(done, total, text):
        if done == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(_runs, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        run(prepare(Settings(out=tmp_path, **TINY)), stop)
    assert len(trained) == 30 and not (tmp_path / "results.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    done = []
    again = run(prepare(Settings(out=tmp_path, **TINY)), lambda *told: done.append(told))
    assert without_time(again) == without_time(results)
    assert len(trained) == len(done)


def test_progress_never_exceeds_what_it_expects(tmp_path):
    told = []
    run(prepare(Settings(out=tmp_path, **TINY | {"seeds": 1})), lambda *t: told.append(t))
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert all(done < total for done, total, _ in told)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet"}, "the model must be one of mlp, cnn, transformer; got 'resnet'"),
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
        ({"sigma": -1.0}, "sigma must not be negative; got -1.0"),
        ({"radius": float("nan")}, "radius must not be negative; got nan"),
        ({"width": 24}, "width must be a multiple of 16, at least 16; got 24"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**change)


def test_device_and_folder_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(ValueError, match="device 'meta' cannot be used"):
        prepare(Settings(out=tmp_path, device="meta"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="out must be a folder that can be written; got .*file"):
        prepare(Settings(out=tmp_path / "file"))


def test_other_models_run(tmp_path):
    for model in ("cnn", "transformer"):
        settings = Settings(out=tmp_path / model, model=model, **TINY | {"seeds": 1, "teleports": 1})
        results = run(prepare(settings))
        assert results["scenes"]["badly scaled"]["largest_change_of_outputs"] <= 1e-10


def test_figure_shows_what_the_results_say(finished):
    _, results = finished
    figure, axes = plot(results)
    assert axes.shape == (3, 4)
    titles = [axis.get_title(loc="left") for axis in axes[0]]
    assert titles[0] == "default initialization" and "badly scaled" in titles[2]
    assert len(figure.legends[0].get_texts()) == len(CONTENDERS) + 3
    line = next(x for x in axes[0, 0].lines if len(x.get_xdata()) > 2)
    expected = np.median(
        [r["training_loss"] for r in results["scenes"]["default"]["contenders"]["SGD"]["runs"]], axis=0
    )
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_figure_bears_runs_that_diverged(finished):
    results = json.loads(json.dumps(finished[1]))
    runs = results["scenes"]["default"]["contenders"]["SGD + teleport"]["runs"]
    for key in ("epochs", "seconds", "training_loss", "validation_loss", "gradient_norm"):
        del runs[0][key][2:]
    runs[0]["training_loss"][-1] = runs[0]["gradient_norm"][-1] = None
    runs[0]["jumps"] = runs[0]["jumps"][:1]
    figure, _ = plot(results)
    figure.canvas.draw()
