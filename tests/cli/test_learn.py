"""`isoloss learn` as its user sees it."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from isoloss.cli import _learn, main
from isoloss.learn import TASKS, load
from isoloss.learn.trial._contenders import Test

TINY = ["--runs", "3", "--batch", "2", "--horizon", "4", "--unroll", "2", "--test-tasks", "3"]
TINY += ["--test-steps", "6", "--set", "validate=2", "validation=2"]


def learn(folder, *arguments):
    return main(["learn", "booth-fixed", *TINY, "--out", str(folder), *arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert learn(folder) == 0
    return folder


def failed(capsys, match, code, arguments):
    assert main(["learn", *arguments]) == code
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("isoloss: ") and re.search(match, said.err), (
        said.err
    )
    return said


def test_list_names_every_task_and_what_it_is(capsys):
    assert main(["learn", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TASKS)
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], r"the tasks are regression, .*, mlp; got none; see isoloss learn --list\.$"),
        (["nope"], r"the tasks are regression, .*; got nope; see"),
        (
            ["booth", "--variant", "tele"],
            r"something must lower the loss; got the variant tele; add update or lr",
        ),
        (["booth", "--variant", "update,foo"], r"variant must be of lr, momentum, tele, update.*got .*'foo'"),
        (["logistic"], r"tele needs tasks with an action; logistic has none; leave tele out of the variant"),
        (["booth", "--runs", "0"], r"runs must be a whole number of at least 1; got 0"),
        (
            ["booth", "--runs", "x"],
            r"invalid literal for int\(\) with base 10: 'x'; see isoloss learn --help",
        ),
        (["booth", "--lr", "-1"], r"lr must be positive; got -1"),
        (["booth", "--seed", "-1"], r"seed must be a whole number of at least 0; got -1"),
        (["booth", "--network", "foo"], r"invalid choice 'foo'"),
        (["booth", "--threads", "0"], r"threads must be at least 1; got 0"),
        (["booth", "--test-tasks", "0"], r"there must be at least 1 test task; got 0"),
        (["booth", "--test-steps", "0"], r"a test must have at least 1 step; got 0"),
        (["booth", "--set", "radius"], r"a setting is NAME=VALUE, as in radius=2; got 'radius'\.$"),
        (["booth", "--set", "radius=abc"], r"radius must be a number; got 'abc'; write --set radius=4\.0"),
        (["booth", "--set", "raw=yes"], r"raw must be True or False; got 'yes'; write --set raw=False"),
        (["booth", "--set", "nope=1"], r"the settings are hidden, layers, .*patience; got nope; see"),
        (["booth", "--set", "validate=1.5"], r"validate must be a whole number of at least 0; got 1\.5"),
        (["booth", "--set", "part_lr=tele"], r"part_lr must give positive factors .* got \('tele',\)"),
        (
            ["booth", "--set", "directions=scale,foo"],
            r"directions must be of balance, .* got \('scale', 'foo'\)",
        ),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_arguments_get_one_line_and_exit_code_2(arguments, match, capsys, tmp_path):
    said = failed(capsys, match, 2, [*arguments, "--out", str(tmp_path / "out")])
    assert said.out == "" and not (tmp_path / "out").exists()


def test_settings_reach_design_and_recipe():
    options = _learn.Learn(
        "booth",
        variant="lr,tele,momentum",
        published=True,
        lr=0.5,
        runs=7,
        set=(
            "radius=2",
            "teleport_at=3",
            "directions=scale,whiten",
            "clip=inf",
            "every=None",
            "curriculum=5,10",
        ),
    )
    settings = _learn.chosen(options)
    design, recipe = settings.design, settings.recipe
    assert design.variant == ("lr", "tele", "momentum") and design.network == "whole" and design.raw
    assert (design.radius, design.teleport_at, design.every) == (2, (3,), None)
    assert design.directions == ("scale", "whiten")
    assert (recipe.lr, recipe.runs, recipe.batch, recipe.clip) == (0.5, 7, 1, float("inf"))
    assert recipe.curriculum == (5, 10) and settings.steps == 10 * recipe.horizon


def test_it_writes_numbers_figure_and_optimizer(finished, capsys):
    # What is finished is read again: the same text, without any training.
    before = (finished / "results.json").read_bytes()
    assert learn(finished) == 0
    said = capsys.readouterr()
    assert said.err == "" and (finished / "results.json").read_bytes() == before
    assert said.out.startswith(
        "update,tele on booth-fixed: 3 runs of 2 tasks, 4 steps in stretches of 2; then 3 unseen"
    )
    assert re.search(r"^contender +rate +step 0 +step 4 +step 6 +diverged$", said.out, re.M)
    assert (
        "update,tele with g = 1" in said.out and "learned teleports multiply the gradient norm by" in said.out
    )
    assert f"optimizer  {finished / 'optimizer'}" in said.out
    results = json.loads(before)
    assert list(results["contenders"]) == [
        "learned", "identity", "mean-rate", "gd", "momentum", "adam", "gd-teleport",
    ]  # fmt: skip
    assert [record["run"] for record in results["history"]] == [0, 1, 2]
    learned = results["contenders"]["learned"]
    assert learned["steps"] == list(range(7)) and [len(losses) for losses in learned["losses"]] == [7] * 3
    assert learned["jumps"] == [0] and len(learned["gains"][0]) == 3
    assert results["contenders"]["mean-rate"]["rate"] == learned["mean_rate"]
    gd = results["contenders"]["gd"]
    assert min(gd["sweep"], key=lambda p: p["score"])["rate"] == gd["rate"]
    meta = load(finished / "optimizer")
    assert meta.design.variant == ("update", "tele") and meta.info["task"] == "booth-fixed"
    assert (finished / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (finished / "figure.svg").read_text()


def test_interrupted_and_resumed_it_comes_to_the_same_results(finished, capsys, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # while the second run is told
        live = _learn._live
        patch.setattr(_learn, "_live", lambda record, v: stop() if record.run == 1 else live(record, v))
        assert learn(tmp_path) == 130
    said = capsys.readouterr().err
    assert said == (
        f"isoloss: interrupted after run 2 of 3; what is finished is kept in {tmp_path}, "
        "and the same command continues\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(Test, "baseline", stop)
        assert learn(tmp_path) == 130
    assert "interrupted in test 4 of 7; " in capsys.readouterr().err
    assert len(list((tmp_path / "runs").glob("*.json"))) == 3 and not (tmp_path / "results.json").exists()
    assert learn(tmp_path) == 0
    assert (tmp_path / "results.json").read_bytes() == (finished / "results.json").read_bytes()
    assert (tmp_path / "figure.svg").read_bytes() == (finished / "figure.svg").read_bytes()


def test_another_training_is_not_continued(capsys, tmp_path):
    assert learn(tmp_path, "--variant", "lr") == 0
    capsys.readouterr()
    arguments = ["booth-fixed", *TINY, "--variant", "lr", "--out", str(tmp_path), "--lr", "0.5"]
    failed(
        capsys, r"differs in recipe; train in another folder, or start afresh \(.*--fresh\)\.$", 2, arguments
    )
    assert main(["learn", *arguments, "--fresh"]) == 0
    assert json.loads((tmp_path / "results.json").read_text())["recipe"]["lr"] == 0.5


def test_divergence_is_one_line_and_the_last_good_checkpoint_stays(capsys, tmp_path):
    huge = ["--published", "--variant", "lr", "--set", "rate=1e300", "patience=1"]
    arguments = ["booth-fixed", *TINY[:-3], *huge, "--out", str(tmp_path)]
    failed(
        capsys,
        rf"losses or meta-gradients must be finite; .*the last good checkpoint is in {tmp_path};",
        1,
        arguments,
    )
    assert (tmp_path / "checkpoint.safetensors").is_file() and not (tmp_path / "results.json").exists()


def test_an_output_folder_that_is_a_file(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        said = failed(
            capsys, r"out must be a folder that can be written; got ", 2, ["booth", "--out", str(out)]
        )
        assert said.out == ""
    assert (tmp_path / "file").read_text() == "mine"


def test_a_checkpoint_that_is_none(capsys, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_text("mine")
    failed(capsys, r"the checkpoint must be one that training wrote", 2, ["booth", "--out", str(tmp_path)])


def test_missing_matplotlib_is_noticed_before_training(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = failed(capsys, r"pip install 'isoloss\[learn\]'", 2, ["booth", "--out", str(tmp_path / "out")])
    assert said.out == "" and not (tmp_path / "out").exists()


def test_ctrl_c_leaves_a_checkpoint_and_one_line(tmp_path):
    endless = ["--runs", "1000000", "--batch", "2", "--horizon", "4", "--set", "validation=2"]
    command = [sys.executable, "-m", "isoloss", "learn", "booth", *endless, "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.count("\n") == 1 and "the same command continues" in said, said
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
