"""`isoloss learn`: train a meta-optimizer and test it, with a progress bar and live losses."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from isoloss.cli._usage import UsageError, usable
from isoloss.learn import TASKS, Design, Recipe, RunRecord
from isoloss.learn.trial import OPTIMIZER, Settings, prepare, report, trial

OWN = "network", "runs", "batch", "horizon", "unroll", "lr", "seed"
"""Options that are fields of Design and Recipe."""


@dataclass(frozen=True)
class Learn:
    """Train a meta-optimizer to choose local updates and group elements, and test it on unseen tasks."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = ""
    """What to train on; --list shows the tasks."""
    list: bool = False
    """Show the tasks and stop."""
    variant: str = "update,tele"
    """What is learned: of update, lr, momentum and tele, separated by commas."""
    out: Path = Path("out/learn")
    """Folder for results.json, figure.png, figure.svg, the optimizer, the checkpoint and the finished tests; an
    interrupted call continues there."""
    published: bool = False
    """Design and recipe of the papers instead of ours."""
    network: Literal["coordinate", "whole"] | None = None
    """One LSTM for every weight, or one that reads the whole gradient; None for what the design says."""
    runs: int | None = None
    """Training runs, each on new tasks; here and below None stands for what the recipe says."""
    batch: int | None = None
    """Tasks of a run, trained together."""
    horizon: int | None = None
    """Steps of a run."""
    unroll: int | None = None
    """Steps between two updates of the meta-optimizer."""
    lr: float | None = None
    """Learning rate of the meta-optimizer."""
    seed: int | None = None
    """Of everything that is drawn."""
    test_tasks: int = 16
    """Unseen tasks; as many others choose the learning rates of the baselines."""
    test_steps: int | None = None
    """Steps on each; None for ten times the horizon."""
    set: tuple[str, ...] = ()
    """Other fields of isoloss.learn.Design and isoloss.learn.Recipe, as NAME=VALUE: --set radius=2 curriculum=5,10."""
    threads: int = 1
    """Threads of one operation."""
    fresh: bool = False
    """Forget what the folder holds."""


def learn(options: Learn) -> None:
    """List the tasks, or train and test and print what came of it."""
    if options.list:
        print(listing())
        return
    with usable():
        settings = chosen(options)
        prepare(options.out)
    recipe = settings.recipe
    print(
        f"{settings.variant} on {settings.tasks.name}: {recipe.runs} runs of {recipe.batch} tasks, "
        f"{recipe.horizon} steps in stretches of {recipe.unroll}; "
        f"then {settings.test_tasks} unseen tasks, {settings.steps} steps\n",
        flush=True,
    )
    with _threads(options.threads):
        results = _with_progress(settings, options)
    print(f"{report(results)}\n")
    for what, name in (("figure", "figure.png"), ("numbers", "results.json"), ("optimizer", OPTIMIZER)):
        print(f"{what:<9}  {options.out / name}")


def listing() -> str:
    """A line for every task."""
    width = max(map(len, TASKS))
    return "\n".join(f"{name:<{width}}  {_first_line(make)}" for name, make in TASKS.items())


def chosen(options: Learn) -> Settings:
    """What the options ask for.

    Raises:
        UsageError: If there is no such task or setting, or a setting is of another kind.
        ValueError: If a value is out of range, or the variant is impossible.
        ImportError: If the task needs a package that is absent.
    """
    if options.task not in TASKS:
        got = options.task or "none"
        raise UsageError(f"learn: the tasks are {', '.join(TASKS)}; got {got}; see isoloss learn --list.")
    if options.threads < 1:
        raise UsageError(f"learn: threads must be at least 1; got {options.threads}.")
    variant = tuple(options.variant.split(","))
    given = {name: value for name in OWN if (value := getattr(options, name)) is not None}
    for text in options.set:
        given |= dict([_setting(text)])
    design = Design.published(*variant) if options.published else Design(variant=variant)
    recipe = Recipe.published(given.get("runs", Recipe().runs)) if options.published else Recipe()
    return Settings(
        TASKS[options.task](),
        replace(design, **_of(design, given)),
        replace(recipe, **_of(recipe, given)),
        options.test_tasks,
        options.test_steps,
    )


def _setting(text: str) -> tuple[str, Any]:
    """A field of Design or Recipe and its new value."""
    known = asdict(Design()) | asdict(Recipe())
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"learn: a setting is NAME=VALUE, as in radius=2; got {text!r}.")
    if name not in known or name == "variant":
        others = ", ".join(key for key in known if key not in (*OWN, "variant"))
        raise UsageError(
            f"learn: the settings are {others}; got {name}; see isoloss.learn.Design and Recipe."
        )
    return name, _fitted(name, known[name], value)


def _fitted(name: str, usual: Any, text: str) -> Any:
    """The value, of the same kind as the usual one."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = tuple(text.split(",")) if isinstance(usual, tuple) else text
    if isinstance(usual, tuple):
        return tuple(value) if isinstance(value, tuple | list) else (value,)
    number = isinstance(usual, Real) and not isinstance(usual, bool)
    if number and value in ("inf", "nan"):
        return float(value)
    if (number and (not isinstance(value, Real) or isinstance(value, bool))) or (
        isinstance(usual, bool) and not isinstance(value, bool)
    ):
        kind = "a number" if number else "True or False"
        raise UsageError(f"learn: {name} must be {kind}; got {text!r}; write --set {name}={usual}.")
    return value


def _of(settings: Design | Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in given.items() if name in names}


def _first_line(make: Any) -> str:
    return (make.__doc__ or "").strip().splitlines()[0].replace(":math:", "").replace("`", "")


def _with_progress(settings: Settings, options: Learn) -> dict[str, Any]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    stage, validation = "before the first run", None
    console = Console(stderr=True)
    # Where nobody watches there is no bar, not even the empty line that it leaves behind.
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
        usable(),
    ):
        training = bar.add_task("training", total=settings.recipe.runs)
        testing = bar.add_task("test", total=None, visible=False)

        def watch(what: RunRecord | str, done: int, of: int) -> None:
            nonlocal stage, validation
            if isinstance(what, RunRecord):
                validation = validation if what.validation is None else what.validation
                stage = f"after run {done} of {of}"
                bar.update(training, completed=done, total=of, description=_live(what, validation))
            else:
                stage = f"in test {done + 1} of {of}"
                bar.update(training, completed=settings.recipe.runs)
                bar.update(testing, completed=done, total=of, description=f"test: {what}", visible=True)

        try:
            return trial(settings, options.out, resume=not options.fresh, watch=watch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted {stage}; what is finished is kept in {options.out}, and the same command continues"
                + (" without --fresh" if options.fresh else "")
            ) from None


def _live(record: RunRecord, validation: float | None) -> str:
    """The losses of the last run, and the last validation."""
    if record.meta_loss is None:
        return "given up: losses were not finite"
    text = f"meta-loss {record.meta_loss:.3g}, median end loss {record.last:.3g}"
    return text + ("" if validation is None else f", validation {validation:.3g}")


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
