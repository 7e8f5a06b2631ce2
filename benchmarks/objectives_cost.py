"""What one evaluation of an objective costs, and one with its slope along the group, in SGD steps of the same network.

    python benchmarks/objectives_cost.py                   # the table; about half a minute on one core
    python benchmarks/objectives_cost.py --json            # and write benchmarks/results/objectives_cost.json

Network 784-w-w-10, LeakyReLU, one batch; CPU time, one thread, medians. The value is taken without a graph, the slope
by autograd through the moved parameters; the slope over data-dependent elements, as `DependentAscent` takes it, has the
passes and fits of the moved network in it. Curves of the frame action, which exist for batches up to the width, are on
w / 4 samples. What is transported costs solvers none of this: see `teleport_cost.py`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoloss import find
from isoloss.dependent import Chain, Search, undisturbed
from isoloss.dependent import pairs as dependent_pairs
from isoloss.teleport import (
    Balance,
    Curvature,
    Distance,
    GradientNorm,
    Loss,
    Mahalanobis,
    Objective,
    Point,
    PredictedDecrease,
    Sharpness,
)
from isoloss.teleport._landscape import Landscape
from isoloss.teleport.curves import ForwardCurve, InverseCurve, layer_pairs, random_curves

RESULTS = Path(__file__).resolve().parent / "results" / "objectives_cost.json"
SIZES = ((128, 200), (512, 200))


def timed(f: Callable[[], Any], rounds: int) -> float:
    """Median CPU seconds."""
    f()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        f()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(width: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Costs in SGD steps by the name of the objective."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(784, width), nn.LeakyReLU(0.1)),
        *(nn.Linear(width, width), nn.LeakyReLU(0.1)),
        nn.Linear(width, 10),
    )
    x, y = torch.randn(batch, 784), torch.randint(10, (batch,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    plain = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(of: torch.optim.Optimizer = plain) -> None:
        of.zero_grad()
        cross_entropy(model(x), y).backward()
        of.step()

    step(optimizer)
    names = dict(model.named_parameters())
    point = Point(
        {n: p.detach() for n, p in names.items()},
        {n: p.grad.clone() for n, p in names.items() if p.grad is not None},
        dict.fromkeys(names, 1e-3),
        Loss(lambda: cross_entropy(model(x), y), model),
        {n: optimizer.state[p] for n, p in names.items()},
        dict.fromkeys(names, optimizer.param_groups[0]),
    )
    every = find(model, x)
    symmetries = [s for s in every if s.dim]
    pairs, small = layer_pairs(every, x), layer_pairs(every, x[: width // 4])[1:]
    objectives: dict[str, Objective] = {
        "gradient norm": GradientNorm(),
        "Mahalanobis norm": Mahalanobis(),
        "predicted decrease": PredictedDecrease(),
        f"sharpness, {Sharpness().passes} points": Sharpness(),
        "curvature, exact": Curvature.of(symmetries),
        "curvature, action 2": Curvature.of(pairs[1:]),
        "curvature, frame": Curvature(
            tuple(ForwardCurve(c.layers, c.algebra, "frame") for c in random_curves(small))  # type: ignore[union-attr]
        ),
        "curvature, action 1": Curvature(tuple(random_curves(pairs[1:], action=InverseCurve))),
        "balance": Balance(),
        "distance": Distance(point.tensors),
    }
    unit = timed(step, 5 * rounds)
    costs = {}
    for name, objective in objectives.items():

        def value(objective: Objective = objective) -> Tensor:
            with torch.no_grad():
                return objective.evaluate(point, point.tensors)

        def slope(objective: Objective = objective) -> tuple[Tensor, ...]:
            logs = [torch.zeros(s.group.n, requires_grad=True) for s in symmetries]
            moved = dict(point.tensors)
            for s, a in zip(symmetries, logs, strict=True):
                moved |= s.act(s.group.exp(a), moved)
            return torch.autograd.grad(objective.evaluate(point, moved), logs, allow_unused=True)

        costs[name] = {"value": timed(value, rounds) / unit, "slope": timed(slope, rounds) / unit}
        measure = None if name == "gradient norm" else Landscape(objective, point, "benchmark")
        with undisturbed(model) as run:
            chain = Chain.of(model, lambda: cross_entropy(model(x), y), run)
            search = Search(chain, dependent_pairs(every), measure=measure)
            thetas = search.start()
            costs[name]["dependent"] = timed(lambda s=search, t=thetas: s.slopes(t, True), rounds) / unit
    return costs


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for width, batch in SIZES:
        found[f"{width}x{batch}"] = costs = measure(width, batch, options.rounds)
        print(f"\nwidth {width}, batch {batch}, in SGD steps{'value':>10}{'slope':>10}{'dependent':>12}")
        for name, row in costs.items():
            print(f"  {name:33}{row['value']:10.2f}{row['slope']:10.2f}{row['dependent']:12.2f}", flush=True)
    if options.json:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
