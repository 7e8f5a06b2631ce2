"""`isoloss reproduce` as its user sees it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from isoloss.cli import main
from isoloss.reproduce import EXPERIMENTS

TINY = ["--jobs", "1", "--set", "seeds=1", "epochs=3", "teleport_at=1"]


def test_list_names_every_experiment_and_what_it_shows(capsys):
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    assert [line.split(maxsplit=1)[1] for line in lines] == [e.shows for e in EXPERIMENTS.values()]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], r"name experiments, or give --all; see isoloss reproduce --list\.$"),
        (["booth", "--all"], r"name experiments, or give --all"),
        (["nope"], r"the experiments are .*rosenbrock, .*; got nope; see --list\.$"),
        (["booth", "--set", "seeds"], r"a setting is NAME=VALUE, as in seeds=3; got 'seeds'\.$"),
        (["booth", "--set", "seeds=abc"], r"seeds must be a number, such as 100; got 'abc'"),
        (["booth", "--set", "seeds=0"], r"seeds must be a whole number of at least 1; got 0"),
        (["booth", "--set", "seeds=2.5"], r"seeds must be a whole number of at least 1; got 2.5"),
        (["booth", "--set", "sedes=3"], r"booth has the settings data, seeds, steps; got sedes; see docs"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_arguments_get_one_line_and_exit_code_2(arguments, match, capsys, tmp_path):
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and re.search(match, said.err), said.err
    assert not (tmp_path / "out" / "booth").exists()


def test_an_output_folder_that_is_a_file(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        for command in (["reproduce", "distance"], ["demo", "--seeds", "1"]):
            assert main([*command, "--out", str(out)]) == 2
            said = capsys.readouterr()
            assert said.err.count("\n") == 1 and "Traceback" not in said.err
            assert re.search(
                r"out must be a folder that can be written; got .*; name another one\.$", said.err
            )
    assert file.read_text() == "mine"


def test_a_data_folder_that_is_named_must_be_there(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)  # where the default is not there either, which is no mistake
    for data, reason in (("nowhere", "which is not there, seen from"), ("file", "which is a file")):
        assert main(["reproduce", "distance", "--data", data, "--out", "out"]) == 2
        assert re.search(
            rf"data must be a folder .*; got {data}, {reason}.*; leave it out", capsys.readouterr().err
        )
        assert not (tmp_path / "out").exists()
    small = ["--jobs", "1", "--set", "angles=16", "curvatures=4", "shifts=(0.5, 1.0)"]
    assert main(["reproduce", "distance", "--out", "out", *small]) == 0


def test_it_prints_the_verdict_and_where_the_report_is(capsys, tmp_path):
    arguments = ["reproduce", "distance", "--out", str(tmp_path), "--jobs", "1"]
    assert main([*arguments, "--set", "angles=16", "curvatures=4", "shifts=(0.5, 1.0)"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("distance (Figure 5.5): ") and "how it depends on the curvature" in out
    assert f"report   {tmp_path / 'report.html'}" in out and (tmp_path / "report.html").is_file()
    settings = json.loads((tmp_path / "distance" / "results.json").read_text())["settings"]
    assert settings["shifts"] == [0.5, 1.0] and settings["angles"] == 16


def test_what_cannot_be_run_is_told(capsys, monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("isoloss.reproduce._data.load", offline)
    folder = str(tmp_path)
    arguments = ["minima", "--data", folder, "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main(["reproduce", *arguments, "--quick"]) == 0
    said = capsys.readouterr().out
    assert "not run\n- minima: no data set can be had" in said and f"lies in {folder}, seen from" in said


@pytest.mark.parametrize("package", ["joblib", "matplotlib"])
def test_missing_packages_name_the_extra(package, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.figure", None)
    assert main(["reproduce", "distance", "--out", str(tmp_path), "--set", "angles=8", "curvatures=2"]) == 0
    assert "pip install 'isoloss[reproduce]'" in capsys.readouterr().out


def test_ctrl_c_keeps_finished_runs_and_half_of_none(tmp_path):
    command = [sys.executable, "-m", "isoloss", "reproduce", "regression", "--out", str(tmp_path), *TINY[:2]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("*/runs/*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues" in said and "Traceback" not in said
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files and all(p.suffix == ".json" and p.parent.name == "runs" for p in files)
    assert all(json.loads(p.read_text())["run"] for p in files)


def test_workers_leave_quietly_when_interrupted(tmp_path):
    """Ctrl-C in a terminal goes to the workers, too."""
    command = [
        sys.executable,
        "-m",
        "isoloss",
        "reproduce",
        "regression",
        "--out",
        str(tmp_path),
        "--jobs",
        "2",
    ]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("*/runs/*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues" in said, said
    assert not list(tmp_path.rglob("*.part"))
