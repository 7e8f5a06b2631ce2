"""How tight the bound on the drift of conserved quantities is, along real runs of gradient descent.

    python benchmarks/drift.py            # the table of docs/flow.md; some seconds
    python benchmarks/drift.py --json     # and write benchmarks/results/drift.json

The drift of a step, in the dual norm, over eta^2 c |grad L|^2 of the parameters in the quantity; and its trace over the
same. Least, median and largest of 100 steps at rate 0.01 from torch's default initialization, float64.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

import isoloss
from isoloss import flow

RESULTS = Path(__file__).resolve().parent / "results" / "drift.json"
NETS = {
    "linear, 20-16-12-10": lambda: nn.Sequential(nn.Linear(20, 16), nn.Linear(16, 12), nn.Linear(12, 10)),
    "ReLU, 20-64-64-10": lambda: nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    ),
    "convolutional": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 5)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 10),
    ),
}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in NETS for row in measured(name)]
    print("| network | quantity | dual norm over bound | trace over bound |\n|---|---|---|---|")
    for row in rows:
        cells = (" / ".join(f"{v:.2g}" for v in row[kind]) for kind in ("dual", "trace"))
        print(f"| {row['network']} | {row['quantity']} | " + " | ".join(cells) + " |")
    if options.json:
        Path(options.json).write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


def measured(name: str, rate: float = 0.01, steps: int = 100) -> list[dict]:
    torch.manual_seed(0)
    model = NETS[name]().double()
    x, y = torch.randn(50, 20).double(), torch.randn(50, 10).double()
    quantities = flow.conserved_quantities(isoloss.find(model, x))
    run = flow.gradient_descent(lambda m: (m(x) - y).square().mean(), model, rate, steps)
    found: dict[str, list[tuple[float, float]]] = {q: [] for q in quantities}
    for i in range(steps):
        gradients = {n: -v[i] for n, v in run.velocities.items()}
        for q, drift in flow.drift_bound(quantities, gradients, rate).items():
            matrix = len(quantities[q].symmetry.group.algebra_shape) == 2
            trace = drift.change.diagonal(dim1=-2, dim2=-1).sum() if matrix else drift.change.sum()
            found[q].append((drift.tightness, abs(float(trace)) / drift.bound if drift.bound else 0.0))
    ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    return [
        {
            "network": name,
            "quantity": q,
            **{
                kind: torch.tensor([v[i] for v in values], dtype=torch.float64).quantile(ends).tolist()
                for i, kind in enumerate(("dual", "trace"))
            },
        }
        for q, values in found.items()
    ]


if __name__ == "__main__":
    main()
