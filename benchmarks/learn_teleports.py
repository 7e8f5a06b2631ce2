"""What learned teleports are worth on the regression, at equal training budget.

`update` and `update,tele` are trained with the default design and recipe on equally many trajectories, and run on 24
unseen tasks, ten times as long as trained; `update,tele` also with its teleports left out. Seeds are those of networks
and tasks. Cells are the median loss and, in brackets, the worst; below them how many tasks are no lower than at first
and how many a hundred times above the median, and the mean logarithm of the loss on validation tasks after so many
runs.

Usage: python benchmarks/learn_teleports.py [--size 10] [--runs 40] [--seeds 3] [--first 0]
       [--variant update update,tele] [--json]
"""

import argparse
import json
import time
from pathlib import Path

import torch

from isoloss._files import write_json
from isoloss.learn import Design, MetaOptimizer, Recipe, evaluate, meta_train
from isoloss.learn.tasks import TwoLayerRegression

STEPS = (10, 30, 100, 200, 1000)
BACK = 100.0  # times the median: a task that has been thrown back
RESULTS = Path(__file__).parent / "results" / "learn_teleports.json"


def trained(variant: str, size: int, runs: int, seed: int) -> dict:
    """Train one, and run it on unseen tasks."""
    torch.manual_seed(seed)
    tasks, recipe = TwoLayerRegression(size=size), Recipe(runs=runs, seed=seed)
    begun = time.process_time()
    result = meta_train(MetaOptimizer.of(Design(variant=tuple(variant.split(","))), tasks), tasks, recipe)
    seconds = time.process_time() - begun
    unseen = tasks.draw(24, torch.Generator().manual_seed(10**6 + seed))
    curve = {r.run + 1: r.validation for r in result.history if r.validation is not None}
    found = {
        "seconds": seconds,
        "trajectories": result.trajectories,
        "validation": result.validation,
        "curve": curve,
    }
    for name, ablate in (("whole", None), ("g = 1", "identity")):
        if ablate and "tele" not in variant:
            continue
        run = evaluate(result.meta, tasks, unseen, max(STEPS), ablate=ablate)
        found[name] = {
            "median": {s: float(run.losses[s].quantile(0.5, interpolation="nearest")) for s in STEPS},
            "worst": {s: float(run.losses[s].max()) for s in STEPS},
            "lost": {s: int((~(run.losses[s] < run.losses[0])).sum()) for s in STEPS},
            "thrown back": {s: int((~(run.losses[s] < BACK * run.losses[s].median())).sum()) for s in STEPS},
        }
        if run.jumps:
            found["gain"], found["change"] = float(run.gains.median()), float(run.changes.abs().max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=10)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--variant", nargs="+", default=["update", "update,tele"])
    parser.add_argument("--json", action="store_true", help=f"add to {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(options.first, options.first + options.seeds):
        for variant in options.variant:
            told = trained(variant, options.size, options.runs, seed)
            key = f"size {options.size}, {options.runs} runs, seed {seed}, {variant}"
            for name in ("whole", "g = 1"):
                if name in told:
                    cells = (f"{told[name]['median'][s]:9.2g} ({told[name]['worst'][s]:.1g})" for s in STEPS)
                    print(f"{key:44} {name:6}", *cells, flush=True)
            print("  lost, thrown back", told["whole"]["lost"], told["whole"]["thrown back"])
            print("  validation", *(f"{run}: {x:.2f}" for run, x in told["curve"].items()), flush=True)
            if options.json:
                known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                write_json(RESULTS, known | {key: told})


if __name__ == "__main__":
    main()
