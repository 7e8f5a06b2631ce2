"""`isoloss reproduce`: the papers' figures and tables, with a progress bar."""

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from isoloss._files import make_folder
from isoloss.cli._usage import UsageError, usable
from isoloss.reproduce import EXPERIMENTS, Experiment, Outcome, check, reproduce
from isoloss.reproduce._data import DATA_FOLDER, check_folder


@dataclass(frozen=True)
class Reproduce:
    """Run figures and tables of the papers again, and judge their claims by the numbers."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ()
    """Which experiments; --list shows them."""
    list: bool = False
    """Show the experiments and stop."""
    all: bool = False
    """Run all of them."""
    quick: bool = False
    """Reduced settings for a small machine; the report says what was reduced."""
    out: Path = Path("out/reproduce")
    """Folder for report.html and, for every experiment, results.json, figure.png, figure.svg and the finished runs; an
    interrupted call continues there."""
    data: Path = Path(DATA_FOLDER)
    """Folder with mnist.npz, fashion_mnist.npz, cifar10.npz or cifar10_small.npz, relative to the working directory;
    what is absent is downloaded."""
    jobs: int = -1
    """Worker processes; -1 for one per core."""
    set: tuple[str, ...] = ()
    """Other settings, as NAME=VALUE: --set seeds=3 epochs=10."""
    fresh: bool = False
    """Forget the finished runs in the folder."""


def run_experiments(options: Reproduce) -> None:
    """List the experiments, or run them and print the verdicts."""
    if options.list:
        print(listing())
        return
    chosen = _chosen(options)
    changes = {"data": str(options.data)} | dict(_setting(text) for text in options.set)
    with usable():
        check(chosen, changes)
        check_folder(options.data)
        make_folder(options.out, "reproduce")
    # Joblib replaces a worker whose memory has grown; its runs are not lost, and the bar should stay whole.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
    try:
        outcomes = _with_progress(chosen, options, changes)
    except KeyboardInterrupt:
        kept = len(list(options.out.glob("*/runs/*.json")))
        raise KeyboardInterrupt(
            f"interrupted; {kept} finished runs are kept in {options.out}, and the same command continues"
        ) from None
    print("\n\n".join(_told(outcome) for outcome in outcomes))
    print(f"\nreport   {options.out / 'report.html'}")


def listing() -> str:
    """A line for every experiment."""
    width = max(map(len, EXPERIMENTS))
    return "\n".join(f"{e.name:<{width}}  {e.shows}" for e in EXPERIMENTS.values())


def _chosen(options: Reproduce) -> list[Experiment]:
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        raise UsageError(
            f"reproduce: the experiments are {', '.join(EXPERIMENTS)}; got {', '.join(unknown)}; see --list."
        )
    if bool(options.names) == options.all:
        raise UsageError("reproduce: name experiments, or give --all; see isoloss reproduce --list.")
    return [e for e in EXPERIMENTS.values() if options.all or e.name in options.names]


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"reproduce: a setting is NAME=VALUE, as in seeds=3; got {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _told(outcome: Outcome) -> str:
    e = outcome.experiment
    lines = [
        f"{e.name} ({e.shows}): {outcome.verdict}{f', {outcome.seconds:.0f} s' if outcome.seconds else ''}"
    ]
    if outcome.reason:
        lines.append(f"- {outcome.reason}")
    lines += [f"- {'control: ' if f.kind == 'control' else ''}{f}" for f in outcome.findings]
    return "\n".join(lines)


def _with_progress(chosen: list[Experiment], options: Reproduce, changes: dict[str, Any]) -> list[Outcome]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, usable():
        whole = bar.add_task("experiments", total=len(chosen))
        task = bar.add_task("", total=None)
        order = {e.name: i for i, e in enumerate(chosen)}

        def watch(name: str, done: int, total: int, text: str) -> None:
            bar.update(whole, completed=order[name])
            bar.update(task, completed=done, total=total, description=f"{name}: {text}")

        return reproduce(
            chosen,
            options.out,
            quick=options.quick,
            changes=changes,
            jobs=options.jobs,
            fresh=options.fresh,
            watch=watch,
        )
