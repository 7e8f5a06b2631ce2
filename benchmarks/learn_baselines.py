"""What optimizers that learn nothing reach, each at its own best learning rate: the bar for those that do.

    python benchmarks/learn_baselines.py                     # all tasks and both horizons; some minutes
    python benchmarks/learn_baselines.py regression 100      # one of them
    python benchmarks/learn_baselines.py --json              # and write benchmarks/results/learn_baselines.json

Tuned for the median final loss of 12 tasks, teleports in their settings too (`TELEPORTS`); shown on 24 others, the
median loss on all data after some steps. One thread, float64.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from isoloss.learn.baselines import BASELINES, TELEPORTS, tune
from isoloss.learn.tasks import TASKS

RESULTS = Path(__file__).resolve().parent / "results" / "learn_baselines.json"
SHOWN = ("regression", "booth", "rosenbrock", "logistic", "mlp")
STEPS = (10, 30, 100, 200, 1000)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", nargs="?", choices=TASKS)
    parser.add_argument("steps", nargs="?", type=int)
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| task | steps | optimizer | rate | " + " | ".join(map(str, STEPS)) + " | diverged | gain | change |"
    )
    print("|---" * (len(STEPS) + 7) + "|")
    rows = []
    for task in [options.task] if options.task else SHOWN:
        for steps in [options.steps] if options.steps else (100, 1000):
            for name in BASELINES:
                if name != "gd-teleport" or TASKS[task]().actions:
                    rows.append(measured(task, name, steps))
                    show(rows[-1])
    if options.json:
        Path(options.json).write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


def measured(task: str, name: str, steps: int) -> dict[str, Any]:
    tasks = TASKS[task]()
    tuning, unseen = (tasks.draw(n, torch.Generator().manual_seed(n)) for n in (12, 24))
    candidates = TELEPORTS if name == "gd-teleport" else (BASELINES[name](),)
    found = tune(candidates, tasks, tuning, steps, generator=torch.Generator().manual_seed(0))
    run = found.baseline.run(tasks, unseen, steps, found.best, torch.Generator().manual_seed(1))
    return {
        "task": task,
        "steps": steps,
        "optimizer": name,
        "settings": repr(found.baseline),
        "rate": found.best,
        "at_edge": found.at_edge,
        "losses": {str(k): median(run.losses[k]) for k in STEPS if k <= steps},
        "diverged": int(run.losses[-1].isinf().sum()),
        "gains": [median(gains) for gains in run.gains],
        "sizes": [median(sizes) for sizes in run.sizes],
        "change": float(run.changes.abs().max()) if run.jumps else None,
    }


def median(values: torch.Tensor) -> float:
    """Of an even number the upper of the two in the middle, which may be infinite."""
    return float(values.sort().values[len(values) // 2])


def show(row: dict[str, Any]) -> None:
    losses = [f"{row['losses'][str(k)]:.3g}" if str(k) in row["losses"] else "" for k in STEPS]
    gain = f"{row['gains'][0]:.2f}" if row["gains"] else ""
    change = f"{row['change']:.0e}" if row["gains"] else ""
    cells = [
        row["task"],
        row["steps"],
        row["settings"] if gain else row["optimizer"],
        f"{row['rate']:g}",
        *losses,
    ]
    print("| " + " | ".join(map(str, [*cells, f"{row['diverged']} / 24", gain, change])) + " |", flush=True)


if __name__ == "__main__":
    main()
