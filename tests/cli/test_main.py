"""The command line as its user sees it: what is printed where, and the exit code."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

import isoloss
from isoloss.cli import _demo, main

RELU = "torch.nn:TransformerEncoderLayer(8, 2, 16, batch_first=True)"
SMALL = ["--width", "16", "--epochs", "1", "--batch", "8", "--samples", "16", "--seeds", "1"]


def failed(arguments, capsys, match):
    """Check that the arguments are refused with one line that matches."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("isoloss: ")
    assert re.search(match, said.err), said.err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], r"Expected one of \{demo, inspect, learn, reproduce\}; see isoloss --help\.$"),
        (
            ["nope"],
            r"Unrecognized options: nope; Available subcommands: demo, inspect, learn, reproduce; see",
        ),
        (
            ["demo", "--sedes", "3"],
            r"Unrecognized options: --sedes, 3; Perhaps you meant: --seeds INT; see isoloss demo",
        ),
        (
            ["demo", "--seeds", "x"],
            r"Error parsing --seeds: invalid literal for int\(\) with base 10: 'x'; see isoloss",
        ),
        (["demo", "--seeds", "0"], r"isoloss: demo: seeds must be at least 1; got 0; see"),
        (["demo", "--model", "z"], r"isoloss: demo: the model must be one of mlp, cnn, transformer; got 'z'"),
        (
            ["demo", "--data", "nope"],
            r"data must be digits, mnist or the path of an .npz file; got 'nope'\.$",
        ),
        (["inspect"], r"Missing from isoloss inspect: TARGET; see isoloss inspect --help\.$"),
        (["inspect", "torch.nn:Linear(3, 4)"], r"an example input is needed"),
        (["inspect", "torch.nn:Linear(3, 4)", "--input", "2,x"], r"an input is a shape such as"),
        (
            ["inspect", "torch.nn:Linear(3, 4)", "--input", "2,5"],
            r"Linear\(3, 4\) must run on the example inputs; got RuntimeError: .*; check --input \(now 2,5\)",
        ),
        (["inspect", "nope", "--input", "1"], r"the target must be module:factory"),
        (["inspect", "torch.nn:ReLU", "--input", "2,3"], r"the model must have parameters; got none"),
        (
            ["inspect", "torch.nn:Linear(3, 4)", "--input", "2,3", "--verify", "maybe"],
            r"invalid choice 'maybe'",
        ),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_arguments_get_one_line_and_exit_code_2(arguments, match, capsys):
    failed(arguments, capsys, match)


@pytest.mark.parametrize("width", ["30", "200"])
@pytest.mark.parametrize("drawn", [True, False], ids=["unicode", "ascii"])
def test_the_line_does_not_depend_on_the_terminal(width, drawn, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr("tyro._fmtlib._should_use_utf8_drawing_chars", lambda: drawn)
    failed(["demo", "--seeds", "x"], capsys, r"invalid literal for int\(\) with base 10: 'x'; see isoloss")


@pytest.mark.parametrize("package", ["tyro", "rich"])
def test_missing_packages_name_the_extra(package, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    failed(["demo"], capsys, r"needs tyro and rich: pip install 'isoloss\[cli\]'")


def test_missing_matplotlib_is_noticed_before_training(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    failed(
        ["demo", "--out", str(tmp_path / "out")],
        capsys,
        r"the figure needs matplotlib: pip install 'isoloss\[demo\]'",
    )
    assert not (tmp_path / "out").exists()


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"isoloss {isoloss.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["inspect", "--help"]], ids=" ".join)
def test_help_is_no_error(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "usage: isoloss" in capsys.readouterr().out


def test_inspect_prints_the_table_and_leaves_the_random_state(capsys):
    state = torch.random.get_rng_state()
    assert main(["inspect", RELU, "--input", "2,5,8"]) == 0
    out = capsys.readouterr().out
    assert "R+^16" in out and "S_16" in out and "linear1.weight" in out
    assert torch.equal(torch.random.get_rng_state(), state)


def test_inspect_json_describes_every_slot(capsys):
    assert main(["inspect", RELU, "--input", "2,5,8", "--json", "--verify", "full"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "TransformerEncoderLayer"
    assert told["continuous_dimension"] == sum(s["dim"] for s in told["symmetries"])
    scaling = next(s for s in told["symmetries"] if s["name"] == "R+^16")
    assert {slot["parameter"]: slot["charge"] for slot in scaling["slots"]} == {
        "linear1.weight": "1",
        "linear1.bias": "1",
        "linear2.weight": "-1",
    }
    assert scaling["exact"] and 0 < scaling["error"] < 1e-10


def test_inspect_without_verification_says_so(capsys):
    assert main(["inspect", RELU, "--input", "2,5,8", "--verify", "none"]) == 0
    assert "not verified" in capsys.readouterr().out


def test_inspect_by_keyword(capsys):
    assert main(["inspect", RELU, "--input", "src=2,5,8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["symmetries"]


def test_inspect_certificate(capsys):
    assert main(["inspect", "torch.nn:Bilinear(2, 2, 1)", "--input", "8,2", "8,2", "--certificate"]) == 0
    assert "null space of the Jacobian" in capsys.readouterr().out
    arguments = ["inspect", "torch.nn:Bilinear(2, 2, 1)", "--input", "8,2", "8,2", "--certificate", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["certificate"]


def test_inspect_hugging_face(capsys):
    pytest.importorskip("transformers")
    target = "hf:gpt2,n_layer=1,n_embd=8,n_head=2,vocab_size=16,n_positions=8"
    assert main(["inspect", target, "--input", "int:1,6"]) == 0
    assert "attn.c_attn.weight" in capsys.readouterr().out


def test_demo_prints_symmetries_verdicts_and_files(capsys, tmp_path):
    assert main(["demo", "--out", str(tmp_path), *SMALL]) == 0
    out = capsys.readouterr().out
    for expected in (
        "R+^16",
        "badly scaled (1 seeds",
        "SGD + balance: training loss",
        "results.json",
        "figure.png",
    ):
        assert expected in out
    assert {p.name for p in tmp_path.iterdir()} == {"results.json", "figure.png", "runs"}


def test_interruption_is_one_line_and_exit_code_130(capsys, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run", interrupted)
    assert main(["demo", "--out", str(tmp_path), *SMALL]) == 130
    assert re.search(
        r"^isoloss: interrupted; 0 finished runs are kept in .*runs", capsys.readouterr().err, re.M
    )


def test_ctrl_c_leaves_no_half_written_file(tmp_path):
    command = [sys.executable, "-m", "isoloss", "demo", "--out", str(tmp_path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 60
        while (
            not list(tmp_path.glob("runs/*.json")) and process.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and "the same command continues" in said and "Traceback" not in said
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files and all(p.suffix == ".json" and p.parent.name == "runs" for p in files)
    assert all(json.loads(p.read_text())["run"] for p in files)
