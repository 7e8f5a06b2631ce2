"""How well the sharpness of Eq. (5.1) is known: by the paper's 4,000 passes, and by 20 that go both ways.

    python benchmarks/sharpness_error.py                   # the table; about a minute on one core
    python benchmarks/sharpness_error.py --json            # and write benchmarks/results/sharpness_error.json
    python benchmarks/sharpness_error.py --data mnist.npz  # another place of the images

MNIST networks 784-w-v-10, LeakyReLU, after steps of SGD (learning rate 0.1, batches of 50); phi - L on 200 images. Its
standard error is that of the mean over directions, from 100 of them, relative to phi - L itself, which is taken from
all 20 displacements both ways. Then the same objective is lowered along the exact scalings, radius 0.1, ten steps,
with the default directions, and measured on those and on 200 others.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoloss import Teleport, find
from isoloss.teleport import LieAscent, Loss, Point, Sharpness, always

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"
RESULTS = Path(__file__).resolve().parent / "results" / "sharpness_error.json"
NETWORKS = (((16, 10), 400), ((16, 10), 2000), ((128, 128), 400), ((128, 128), 2000))
DRAWS = 100


def trained(widths: tuple[int, int], steps: int, x: Tensor, y: Tensor) -> nn.Module:
    """A network after so many steps."""
    torch.manual_seed(0)
    first, second = widths
    model = nn.Sequential(
        *(nn.Linear(784, first), nn.LeakyReLU(0.1)),
        *(nn.Linear(first, second), nn.LeakyReLU(0.1)),
        nn.Linear(second, 10),
    ).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        batch = torch.randint(len(x), (50,))
        optimizer.zero_grad()
        cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model


def measure(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Standard errors, and what a teleport gains."""

    def closure() -> Tensor:
        return cross_entropy(model(x), y)

    named = dict(model.named_parameters())
    point = Point(
        {n: p.detach().clone() for n, p in named.items()}, {}, dict.fromkeys(named, 0.1), Loss(closure, model)
    )
    paper, ours = Sharpness.of_the_paper(), Sharpness()
    assert paper.displacements is not None and ours.displacements is not None
    both = (*paper.displacements, *(-t for t in paper.displacements))

    def excess(lengths: tuple[float, ...], seed: int, directions: int = 1) -> float:
        objective = Sharpness(displacements=lengths, directions=directions, excess=True, seed=seed)
        with torch.no_grad():
            return objective.evaluate(point, {n: p.detach() for n, p in named.items()}).item()

    one, two, exact = (
        np.array([excess(lengths, seed) for seed in range(DRAWS)])
        for lengths in (paper.displacements, ours.displacements, both)
    )
    scale = abs(exact.mean())
    found = {
        "loss": closure().item(),
        "excess": exact.mean(),
        "error of the paper": one.std(ddof=1) / scale / paper.directions**0.5,
        "error of the default": two.std(ddof=1) / scale / ours.directions**0.5,
        "bias of two displacements": (two - exact).mean() / scale,
        "error of the bias": (two - exact).std(ddof=1) / scale / DRAWS**0.5,
    }
    before = excess(ours.displacements, 0, ours.directions), excess(ours.displacements, 1, 200)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    solver, symmetries = LieAscent(metric="spectral"), find(model, x)
    closure().backward()
    Teleport(optimizer, symmetries, ours, always, 0.1, solver, loss=closure).step()
    after = excess(ours.displacements, 0, ours.directions), excess(ours.displacements, 1, 200)
    found["change on its directions"] = after[0] / before[0] - 1
    found["change on others"] = after[1] / before[1] - 1
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = np.load(options.data)
    x = torch.from_numpy(data["x_train"][:12000]).double().flatten(1) / 255
    y = torch.from_numpy(data["y_train"][:12000]).long()
    results = {}
    for widths, steps in NETWORKS:
        name = f"784-{widths[0]}-{widths[1]}-10, {steps} steps"
        results[name] = row = measure(trained(widths, steps, x, y), x[:200], y[:200])
        print(f"\n{name}")
        for quantity, value in row.items():
            print(f"  {quantity:30}{value:12.3g}", flush=True)
    if options.json:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
