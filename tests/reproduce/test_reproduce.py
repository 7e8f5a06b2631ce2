"""The framework, with a small experiment: files, resuming, interruption, settings, missing data."""

import json
from dataclasses import dataclass

import pytest

from isoloss.reproduce import EXPERIMENTS, Finding, Settings, experiment, reproduce
from isoloss.reproduce._figure import canvas
from isoloss.reproduce._reproduce import _computing, code

RAN = []


@dataclass(frozen=True)
class Coin(Settings):
    sides: int = 6


def throw(settings, seed):
    RAN.append(seed)
    if seed == settings.sides:
        raise KeyboardInterrupt
    return {"value": (7 * seed + 3) % settings.sides}


def judge(results):
    return [
        Finding("the mean is small", results["mean"] < 10, f"mean {results['mean']}"),
        Finding("a <control>", None, "none", "control"),
    ]


def plot(results):
    figure, axes = canvas()
    axes[0, 0].plot(results["values"])
    return figure


def make(name="coin", study=None):
    def throws(settings, each):
        if study is not None:
            return study(settings, each)
        values = [run["value"] for run in each(throw, [{"seed": s} for s in range(settings.seeds)])]
        return {"values": values, "mean": sum(values) / len(values)}

    declare = experiment(
        name,
        shows="Figure 0.0",
        paper="nowhere",
        claim="Coins & <dice> fall.",
        settings=Coin,
        quick={"seeds": 3},
        judge=judge,
        plot=plot,
    )
    return declare(throws)


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


def test_files_are_complete(tmp_path):
    (outcome,) = reproduce([make()], tmp_path, quick=True, jobs=1)
    assert outcome.verdict == "reproduced" and outcome.reason is None
    assert {p.name for p in (tmp_path / "coin").iterdir()} == {
        "results.json",
        "figure.png",
        "figure.svg",
        "runs",
    }
    told = json.loads((tmp_path / "coin" / "results.json").read_text())
    assert told["verdict"] == "reproduced" and told["settings"]["seeds"] == 3
    assert told["reduced"] == {"seeds": [5, 3]}
    assert told["results"] == {"values": [3, 4, 5], "mean": 4.0}
    assert [f["kind"] for f in told["findings"]] == ["paper", "control"]
    assert (tmp_path / "coin" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "coin" / "figure.svg").read_bytes()


def test_paper_settings_are_the_default(tmp_path):
    reproduce([make()], tmp_path, jobs=1)
    told = json.loads((tmp_path / "coin" / "results.json").read_text())
    assert told["reduced"] == {} and len(told["results"]["values"]) == 5


def test_finished_runs_are_not_repeated_until_fresh(tmp_path):
    reproduce([make()], tmp_path, quick=True, jobs=1)
    reproduce([make()], tmp_path, jobs=1, changes={"seeds": 3})
    assert RAN == [0, 1, 2]
    reproduce([make()], tmp_path, quick=True, jobs=1, fresh=True)
    assert RAN == [0, 1, 2] * 2


def test_other_settings_are_other_runs(tmp_path):
    reproduce([make()], tmp_path, quick=True, jobs=1)
    reproduce([make()], tmp_path, quick=True, jobs=1, changes={"sides": 4})
    assert RAN == [0, 1, 2] * 2


def test_interrupted_call_continues_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        reproduce([make()], tmp_path, jobs=1, changes={"sides": 2})
    assert RAN == [0, 1, 2] and not (tmp_path / "coin" / "results.json").exists()
    assert len(list(tmp_path.glob("coin/runs/*.json"))) == 2 and not list(tmp_path.rglob("*.part"))
    RAN.clear()
    with pytest.raises(KeyboardInterrupt):
        reproduce([make()], tmp_path, jobs=1, changes={"sides": 2})
    assert RAN == [2]


def test_what_cannot_be_run_is_told_and_the_rest_goes_on(tmp_path):
    def missing(settings, each):
        raise OSError("mnist is\nnot here")

    first, second = reproduce([make("a", missing), make("b")], tmp_path, quick=True, jobs=1)
    assert (first.verdict, first.reason) == ("not run", "mnist is not here")
    assert second.verdict == "reproduced"


def test_report_holds_every_figure_claim_and_verdict(tmp_path):
    reproduce([make("a"), make("b")], tmp_path, quick=True, jobs=1)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "<img" in page
    assert page.count("Coins &amp; &lt;dice&gt; fall.") == 2 and page.count("a &lt;control&gt;") == 2
    assert page.count(">reproduced<") == 4 and "seeds: 5 → 3" in page
    assert "http://" not in page and "https://" not in page and "src='data:" in page


def test_report_gathers_what_earlier_calls_finished(tmp_path):
    reproduce([make("a")], tmp_path, quick=True, jobs=1)
    reproduce([make("b")], tmp_path, quick=True, jobs=1)
    page = (tmp_path / "report.html").read_text()
    assert "id='a'" in page and "id='b'" in page


def test_every_experiment_takes_the_changes_that_it_has(tmp_path):
    changes = {"sides": 9, "angles": 8, "curvatures": 3}
    reproduce([make(), EXPERIMENTS["distance"]], tmp_path, jobs=1, changes=changes)
    told = {name: json.loads((tmp_path / name / "results.json").read_text()) for name in ("coin", "distance")}
    assert told["coin"]["settings"]["sides"] == 9 and told["distance"]["settings"]["angles"] == 8


def test_unknown_settings_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="coin has the settings data, seeds, sides; got sedes; see docs"):
        reproduce([make()], tmp_path, changes={"sedes": 1})
    assert not (tmp_path / "coin").exists()


def test_watch_is_told_of_every_run(tmp_path):
    told = []
    reproduce([make()], tmp_path, quick=True, jobs=1, watch=lambda *t: told.append(t[:3]))
    assert told == [("coin", 0, 3), ("coin", 1, 3), ("coin", 2, 3), ("coin", 3, 3)]


def test_only_source_that_computes_makes_old_runs_void():
    base = "import math\ndef run(x):\n    return x\ndef judge(r):\n    return 1\ndef plot_all(r):\n    return 2\n"
    same = (
        base.replace("return 1", "return 3")
        .replace("return 2", "return 4")
        .replace("    return x", "    return x  # so")
    )
    assert _computing(base) == _computing(same)
    assert _computing(base) != _computing(base.replace("return x", "return -x"))


def test_experiments_have_hashes_of_their_own():
    hashes = {name: code(e) for name, e in EXPERIMENTS.items()}
    # Two that share a file share a hash, as rosenbrock and booth do.
    assert len(set(hashes.values())) == len({e.study.__module__ for e in EXPERIMENTS.values()})
    assert hashes == {name: code(e) for name, e in EXPERIMENTS.items()}
