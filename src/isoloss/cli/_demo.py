"""`isoloss demo`: the demo with a progress bar."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from isoloss.cli._usage import usable
from isoloss.demo import Settings, Setup, prepare, report, run


def demo(settings: Settings) -> None:
    """Run the demo and print the table of symmetries, the verdicts and where the files are."""
    with usable():
        setup = prepare(settings)
    print(
        f"Symmetries of the {settings.model} for {settings.data}, "
        f"found and verified in {setup.seconds:.2f} s:\n"
    )
    print(setup.symmetries.table, flush=True)
    try:
        results = _with_progress(setup)
    except KeyboardInterrupt:
        kept = len(list((settings.out / "runs").glob("*.json")))
        raise KeyboardInterrupt(
            f"interrupted; {kept} finished runs are kept in {settings.out / 'runs'}, "
            "and the same command continues"
        ) from None
    print(f"\n{report(results)}\n")
    print(f"figure   {settings.out / 'figure.png'}\nnumbers  {settings.out / 'results.json'}")


def _with_progress(setup: Setup) -> dict[str, Any]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        return run(
            setup, lambda done, total, text: bar.update(task, completed=done, total=total, description=text)
        )
