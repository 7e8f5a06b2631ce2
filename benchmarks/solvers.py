"""What every solver costs and gains: one teleport after 30 training steps on digits, radius 0.1, gradient norm.

    python benchmarks/solvers.py           # the table; a minute on one core
    python benchmarks/solvers.py --json    # and write benchmarks/results/solvers.json

Cost is in training steps of the same network and batch (zero_grad, forward, backward, optimizer.step), CPU time,
medians of runs in turn. Gain is that of the squared gradient norm; the change of loss is relative, on the minibatch
of the teleport and on held-out examples. The radius bounds a spectral norm for solvers along symmetries, and the
distance relative to all parameters for the others: their gains are not to be compared at equal radius.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoloss import Teleport, find
from isoloss.teleport import (
    DiscreteSearch,
    GradientNorm,
    LevelSetAscent,
    LieAscent,
    NullSpaceProjection,
    RandomSearch,
    RandomTeleport,
    TangentAscent,
    TransportedAscent,
    always,
)

RESULTS = Path(__file__).resolve().parent / "results" / "solvers.json"


class Evaluated(GradientNorm):
    """The same objective, asked by passes: what an objective without closed form costs."""

    form = None


SOLVERS = {
    "TransportedAscent": (TransportedAscent(), GradientNorm()),
    "LieAscent, carried": (LieAscent(), GradientNorm()),
    "LieAscent, carried, spectral": (LieAscent(metric="spectral"), GradientNorm()),
    "LieAscent, evaluated": (LieAscent(), Evaluated()),
    "LieAscent, evaluated, spectral": (LieAscent(metric="spectral"), Evaluated()),
    "TangentAscent": (TangentAscent(), Evaluated()),
    "RandomTeleport": (RandomTeleport(), GradientNorm()),
    "RandomSearch": (RandomSearch(), GradientNorm()),
    "DiscreteSearch": (DiscreteSearch(), GradientNorm()),
    "LevelSetAscent": (LevelSetAscent(), GradientNorm()),
    "NullSpaceProjection": (NullSpaceProjection(), GradientNorm()),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Lies about nothing: DiscreteSearch has no symmetry to use here, and says so.
    warnings.filterwarnings("ignore", message="Teleport: none of the")
    rows = []
    print(f"{'':32}{'net':>9}{'batch':>7}{'steps':>9}{'gain':>9}{'on batch':>11}{'held out':>11}")
    for width, batch in ((128, 20), (128, 200), (512, 20), (512, 200)):
        for name, (solver, objective) in SOLVERS.items():
            row = {"solver": name, "width": width, "batch": batch} | measure(
                width, batch, solver, objective, options.rounds
            )
            rows.append(row)
            print(
                f"{name:32}{width:>9}{batch:>7}{row['steps']:>9.2f}{row['gain']:>9.3f}"
                f"{row['change']:>11.1e}{row['held_out']:>11.1e}",
                flush=True,
            )
    if options.json:
        settings = {"rounds": options.rounds, "torch": torch.__version__, "python": platform.python_version()}
        Path(options.json).write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def measure(width: int, batch: int, solver, objective, rounds: int) -> dict[str, float]:
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16.0, dtype=torch.float32), torch.tensor(data.target)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    part = slice(0, batch)

    def closure():
        return cross_entropy(model(x[part]), y[part])

    def backward() -> None:
        optimizer.zero_grad()
        closure().backward()

    for step in range(30):
        part = slice(batch * step % 1000, batch * step % 1000 + batch)
        backward()
        optimizer.step()
    teleport = Teleport(
        optimizer,
        find(model, x[:4]),
        objective,
        always,
        0.1,
        solver,
        loss=closure,
        generator=torch.Generator().manual_seed(0),
    )
    home = [p.detach().clone() for p in model.parameters()]
    steps, jumps, jump, losses = [], [], None, []
    for _ in range(rounds + 1):
        start = time.process_time()
        backward()
        optimizer.step()
        steps.append(time.process_time() - start)
        put_back(model, home)
        backward()
        losses = evaluate(model, x, y, part)
        start = time.process_time()
        jump = teleport.step()
        jumps.append(time.process_time() - start)
        after = evaluate(model, x, y, part)
        put_back(model, home)
    assert jump is not None
    gain = (jump.gradient_norm_after / jump.gradient_norm_before) ** 2 if jump.gradient_norm_after else 1.0
    return {
        "steps": statistics.median(jumps[1:]) / statistics.median(steps[1:]),
        "gain": gain,
        "change": after[0] / losses[0] - 1,
        "held_out": after[1] / losses[1] - 1,
    }


@torch.no_grad()
def evaluate(model: nn.Module, x, y, part: slice) -> tuple[float, float]:
    return cross_entropy(model(x[part]), y[part]).item(), cross_entropy(model(x[1200:]), y[1200:]).item()


@torch.no_grad()
def put_back(model: nn.Module, home) -> None:
    for p, old in zip(model.parameters(), home, strict=True):
        p.copy_(old)


if __name__ == "__main__":
    main()
