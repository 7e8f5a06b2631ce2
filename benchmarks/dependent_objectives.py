"""Every objective over data-dependent elements of a trained network: its change, that of the loss, and the cost.

    python benchmarks/dependent_objectives.py                  # half a minute on one core
    python benchmarks/dependent_objectives.py --json           # and write results/dependent_objectives.json
    python benchmarks/dependent_objectives.py --data mnist.npz # another place of the images

784-128-128-10 with LeakyReLU, 400 steps of Adam (rate 1e-3, batches of 100) on 12,000 images of MNIST; then one
teleport of ten steps, radius 0.1, for a batch of 20 and one of 200. Changes are relative; costs in SGD steps, CPU time.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoloss import Teleport, find
from isoloss.teleport import (
    Balance,
    Curvature,
    DependentAscent,
    Distance,
    GradientNorm,
    Mahalanobis,
    PredictedDecrease,
    Sharpness,
    always,
)
from isoloss.teleport.curves import layer_pairs

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"
RESULTS = Path(__file__).resolve().parent / "results" / "dependent_objectives.json"


def trained(x: Tensor, y: Tensor) -> tuple[nn.Module, torch.optim.Adam, dict[str, Tensor]]:
    """The network, its optimizer, and where it began."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(784, 128), nn.LeakyReLU(0.1), nn.Linear(128, 128), nn.LeakyReLU(0.1), nn.Linear(128, 10))
    )
    first = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(400):
        batch = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model, optimizer, first


def measure(x: Tensor, y: Tensor, k: int) -> dict[str, dict[str, float]]:
    """One teleport for each objective."""
    train, other = slice(0, 12000), slice(12000, 14000)
    model, optimizer, first = trained(x[train], y[train])
    home = [p.detach().clone() for p in model.parameters()]
    symmetries = find(model, x[:2])

    def loss(of: slice = slice(0, k)) -> Tensor:
        return cross_entropy(model(x[of]), y[of])

    def step() -> float:
        start = time.process_time()
        plain = torch.optim.SGD(model.parameters(), lr=0.0)
        plain.zero_grad()
        loss().backward()
        plain.step()
        return time.process_time() - start

    unit = sorted(step() for _ in range(50))[25]
    objectives = {
        "gradient norm, raised": GradientNorm(),
        "Mahalanobis norm, raised": Mahalanobis(),
        "predicted decrease, raised": PredictedDecrease(),
        "sharpness - loss, lowered": Sharpness(excess=True),
        "curvature, raised": Curvature.of(
            layer_pairs(symmetries, x[:k]), generator=torch.Generator().manual_seed(0)
        ),
        "parameter norm, lowered": Balance(),
        "distance to the start, lowered": Distance(first),
    }
    found = {}
    for name, objective in objectives.items():
        solver = DependentAscent(symmetries)
        kept = {"momentum": "keep", "second_moments": "keep"}
        teleport = Teleport(optimizer, symmetries, objective, always, 0.1, solver, loss=loss, **kept)  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss().backward()
        here, aside = loss().item(), loss(other).item()
        start = time.process_time()
        jump = teleport.step()
        cost = (time.process_time() - start) / unit
        assert jump is not None and jump.after is not None
        found[name] = {
            "change": jump.after / jump.before - 1,
            "loss": loss().item() / here - 1,
            "held out": loss(other).item() / aside - 1,
            "cost": cost,
        }
        with torch.no_grad():
            for p, w in zip(model.parameters(), home, strict=True):
                p.copy_(w)
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(options.data) as file:
        x = torch.from_numpy(file["x_train"][:14000]).float().flatten(1) / 255
        y = torch.from_numpy(file["y_train"][:14000]).long()
    results = {}
    for k in (20, 200):
        results[f"batch {k}"] = rows = measure(x, y, k)
        print(f"\nbatch {k:<30}{'objective':>12}{'loss':>12}{'held out':>12}{'SGD steps':>12}")
        for name, row in rows.items():
            numbers = f"{row['change']:12.2%}{row['loss']:12.1e}{row['held out']:12.2%}{row['cost']:12.0f}"
            print(f"  {name:34}{numbers}", flush=True)
    if options.json:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
