"""Does a solver help to train? SGD on digits at six learning rates, with four teleports of each kind and without.

    python benchmarks/solvers_training.py           # the table; some minutes on one core
    python benchmarks/solvers_training.py --json    # and write benchmarks/results/solvers_training.json

A 64-64-64-10 LeakyReLU network, batches of 100, 240 steps, teleports at steps 20, 40, 60 and 80 to raise the gradient
norm; training loss on all 1500 training examples at the end, mean over seeds. The last column is the best over learning
rates, with the standard deviation over seeds, and is what counts: at a fixed rate a teleport that raises the gradient
is a higher learning rate.
"""

import argparse
import json
import math
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoloss import Teleport, find
from isoloss.teleport import LevelSetAscent, LieAscent, NullSpaceProjection, RandomTeleport, at

RESULTS = Path(__file__).resolve().parent / "results" / "solvers_training.json"
RATES = (0.03, 0.1, 0.3, 0.6, 1.0, 2.0)
CONTENDERS = {
    "plain": None,
    "LieAscent, spectral, 0.1": (LieAscent(4, metric="spectral"), 0.1),
    "LieAscent, spectral, 0.3": (LieAscent(4, metric="spectral"), 0.3),
    "RandomTeleport, 0.3": (RandomTeleport(), 0.3),
    "LevelSetAscent, 0.02": (LevelSetAscent(4), 0.02),
    "LevelSetAscent, 0.1": (LevelSetAscent(4), 0.1),
    "NullSpaceProjection, 0.1": (NullSpaceProjection(4), 0.1),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Teleport: none of the")
    print(f"{'':28}" + "".join(f"{rate:>9}" for rate in RATES) + "     best")
    rows = []
    for name, contender in CONTENDERS.items():
        runs = torch.tensor(
            [[train(rate, contender, seed) for seed in range(options.seeds)] for rate in RATES]
        )
        ends = runs.mean(1)
        k = int(ends.argmin())
        best, spread = ends[k].item(), runs[k].std().item()
        losses = [e if math.isfinite(e) else None for e in ends.tolist()]
        rows.append({"contender": name, "rates": RATES, "losses": losses, "best": best, "spread": spread})
        print(
            f"{name:28}" + "".join(f"{e:>9.4f}" for e in ends.tolist()) + f"{best:>9.4f} +- {spread:.4f}",
            flush=True,
        )
    if options.json:
        settings = {"seeds": options.seeds, "torch": torch.__version__}
        Path(options.json).write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def train(rate: float, contender, seed: int) -> float:
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16.0, dtype=torch.float32)[:1500], torch.tensor(data.target)[:1500]
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    rows = torch.arange(100)

    def closure():
        return cross_entropy(model(x[rows]), y[rows])

    teleport = None
    if contender is not None:
        solver, radius = contender
        teleport = Teleport(
            optimizer,
            find(model, x[:4]),
            schedule=at(20, 40, 60, 80),
            radius=radius,
            solver=solver,
            loss=closure,
            generator=torch.Generator().manual_seed(seed),
        )
    for _ in range(240):
        rows = torch.randperm(1500)[:100]
        optimizer.zero_grad()
        closure().backward()
        if teleport is not None:
            teleport.step()
        optimizer.step()
    with torch.no_grad():
        end = cross_entropy(model(x), y).item()
    return end if math.isfinite(end) else math.inf


if __name__ == "__main__":
    main()
