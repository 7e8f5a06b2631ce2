"""Running experiments: settings, runs, verdict, figure, files, and what an interruption leaves."""

import ast
import hashlib
import inspect
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import isoloss
from isoloss._files import make_folder, write_file, write_json
from isoloss._store import Store, source
from isoloss.reproduce._data import fingerprint
from isoloss.reproduce._experiment import Experiment, Settings
from isoloss.reproduce._figure import save
from isoloss.reproduce._finding import Finding, overall
from isoloss.reproduce._report import html
from isoloss.reproduce._runs import Runs, plain

DATA = ("mnist", "fashion_mnist", "cifar10")
Watch = Callable[[str, int, int, str], None]
"""Called with the experiment, its finished runs, its known runs and what is being run."""


@dataclass(frozen=True)
class Outcome:
    """What came out of an experiment.

    Attributes:
        experiment: Which.
        verdict: "reproduced", "reproduced in part", "not reproduced", "open", or "not run".
        findings: The statements behind it.
        seconds: How long this call took; 0 for what was finished before.
        reason: Why it was not run.
    """

    experiment: Experiment
    verdict: str
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    reason: str | None = None


def reproduce(
    experiments: Sequence[Experiment],
    out: str | Path,
    *,
    quick: bool = False,
    changes: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    watch: Watch | None = None,
) -> list[Outcome]:
    """Run experiments and write a folder for each, and report.html over all that the folder holds.

    Finished runs are kept as they finish; the same call continues after an interruption. In every experiment's
    folder: results.json (settings, numbers, verdict), figure.png, figure.svg, runs/.

    Args:
        experiments: From `EXPERIMENTS`.
        out: The folder.
        quick: Use the reduced settings.
        changes: Settings by name; every experiment takes those that it has.
        jobs: Workers; None for what joblib.parallel_config says.
        fresh: Forget the finished runs.
        watch: Told of the progress.

    Returns:
        One outcome for every experiment; one whose data or packages are missing is "not run".

    Raises:
        ValueError: If no experiment has a setting that is to be changed.
        OSError: If the folder cannot be made or written to.
    """
    out, changes = Path(out), changes or {}
    check(experiments, changes)
    make_folder(out, "reproduce")
    outcomes = []
    for chosen in experiments:
        mine = {name: value for name, value in changes.items() if name in chosen.fields}
        try:
            outcomes.append(_one(chosen, out, quick, mine, jobs, fresh, watch))
        except (OSError, ImportError) as error:
            outcomes.append(Outcome(chosen, "not run", reason=" ".join(str(error).split())))
        write_report(out)
    return outcomes


def check(experiments: Sequence[Experiment], changes: Mapping[str, Any]) -> None:
    """Refuse changes of settings that no experiment has, or that are of another kind.

    Raises:
        ValueError: If there is one.
    """
    if unknown := sorted(set(changes) - frozenset().union(*(e.fields for e in experiments))):
        experiments[0].configure(quick=False, changes={name: changes[name] for name in unknown})
    for chosen in experiments:
        chosen.configure(quick=False, changes={n: v for n, v in changes.items() if n in chosen.fields})


def _one(
    chosen: Experiment,
    out: Path,
    quick: bool,
    changes: Mapping[str, Any],
    jobs: int | None,
    fresh: bool,
    watch: Watch | None,
) -> Outcome:
    settings = chosen.configure(quick=quick, changes=changes)
    store = Store(out / chosen.name / "runs", _context(settings), code(chosen))
    if fresh:
        store.clear()
    runs = Runs(
        settings,
        store,
        1 if chosen.timed else jobs,
        None if watch is None else lambda done, total, text: watch(chosen.name, done, total, text),
    )
    since = time.perf_counter()
    results = plain(chosen.study(settings, runs))
    findings = chosen.judge(results)
    seconds = time.perf_counter() - since
    told = {
        "name": chosen.name,
        "shows": chosen.shows,
        "paper": chosen.paper,
        "claim": chosen.claim,
        "verdict": overall(findings),
        "findings": [asdict(f) for f in findings],
        "settings": plain(asdict(settings)),
        "reduced": plain(chosen.reductions(settings)),
        "seconds": seconds,
        "versions": {
            "isoloss": isoloss.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "results": results,
    }
    save(chosen.plot(results), out / chosen.name / "figure")
    write_json(out / chosen.name / "results.json", told)
    return Outcome(chosen, overall(findings), tuple(findings), seconds)


def write_report(out: Path) -> Path:
    """Gather every finished experiment of the folder in report.html, which needs no other file."""
    entries = []
    for path in sorted(out.glob("*/results.json")):
        figure = path.with_name("figure.png")
        if figure.is_file():
            entries.append((json.loads(path.read_text()), figure.read_bytes()))
    return write_file(out / "report.html", html(entries))


def code(chosen: Experiment) -> str:
    """A hash of the source that an experiment's runs depend on.

    The whole package counts, but for other experiments, for how results are judged and shown, and for comments.
    """
    package = source("demo", "reproduce", "_figure.py")
    folder = Path(__file__).parent
    shared = sorted(folder.glob("_*.py")) + sorted((folder / "experiments").glob("_shared_*.py"))
    readers = {"_report.py", "_figure.py", "_finding.py", "_comparison.py", "_reproduce.py", "_experiment.py"}
    files = [path.read_text() for path in shared if path.name not in readers]
    own = inspect.getsource(inspect.getmodule(chosen.study) or chosen.study)
    text = "\n".join(_computing(part) for part in (*files, own))
    return hashlib.sha256((package + text).encode()).hexdigest()[:16]


def _computing(text: str) -> str:
    """The source without comments and without what only reads results: judge and plot, and what they call."""
    tree = ast.parse(text)
    readers = ("judge", "plot", "_judge", "_plot", "_finding", "_panel")
    tree.body = [n for n in tree.body if not (isinstance(n, ast.FunctionDef) and n.name.startswith(readers))]
    return ast.unparse(tree)


def _context(settings: Settings) -> dict[str, Any]:
    shared = plain(asdict(settings))
    folder = shared.pop("data")
    return shared | {"data": fingerprint(DATA, folder)}
