"""The forms of a data-dependent action side by side: what they keep, what they disturb, and what they cost.

    python benchmarks/dependent_forms.py            # the table of docs/dependent.md; about half a minute
    python benchmarks/dependent_forms.py --json     # and write benchmarks/results/dependent_forms.json

Two layers U sigma(V X) with LeakyReLU(0.1), 64 inputs, 64 hidden units, 10 outputs, 20 samples (1 for the R_z
action), float64, medians over 10 draws; g = 1 + size * Gaussian / sqrt(h). Changes of outputs are relative, in the
Frobenius norm, on the batch and on 1000 other samples. Cost: CPU time of one move at width 1024 with 200 samples, in
float32, in products of U with the activations of the batch.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from isoloss.dependent import Difference, Frame, One, Rotation, Two, act, activation_of

RESULTS = Path(__file__).resolve().parent / "results" / "dependent_forms.json"
SIZES = (0.0, 0.01, 0.1)
FORMS = {
    "difference": Difference(),
    "frame": Frame(),
    "rotation": Rotation(),
    "action-1": One(),
    "action-1 as published": One(by_differences=False),
    "action-2 as published": Two(),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {name: row(name, options.draws) for name in FORMS}
    heads = (
        "on the batch",
        *(f"held out, {s:g}" for s in SIZES),
        "large batch, 0.1",
        "g2 (g1 w)",
        "identity",
        "cost",
    )
    print(" " * 24 + "".join(h.rjust(18) for h in heads))
    for name, values in rows.items():
        print(name.ljust(24) + "".join(shown(v).rjust(18) for v in values))
    if options.json:
        Path(options.json).write_text(json.dumps({"columns": heads, "rows": rows}, indent=1) + "\n")


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1e}" if value < 0.01 else f"{value:.3f}" if value < 10 else f"{value:.0f}"


def row(name: str, draws: int) -> list[float | None]:
    action = FORMS[name]
    found = [measured(name, draw) for draw in range(draws)]
    medians = [None if None in c else statistics.median(c) for c in zip(*found, strict=True)]
    return [*medians, cost(action)]


def measured(name: str, draw: int) -> list[float | None]:
    torch.manual_seed(draw)
    action, h, k = FORMS[name], 64, 1 if name == "rotation" else 20
    sigma = activation_of(nn.LeakyReLU(0.1))
    assert sigma is not None
    v, u, x = torch.randn(h, 64).double() / 8, torch.randn(10, h).double() / 8, torch.randn(64, k).double()
    other, large = torch.randn(64, 1000).double(), torch.randn(64, 200).double()
    one = torch.eye(h).double()

    def element(size: float):
        return one + size * torch.randn(h, h).double() / h**0.5

    def change(moved, x) -> float:
        before = u @ sigma.value(v @ x)
        return float((moved[1] @ sigma.value(moved[0] @ x) - before).norm() / before.norm())

    elements = [element(size) for size in SIZES]
    moved = [act(action, g, v, u, x, sigma) for g in elements]
    held_out = [change(m, other) for m in moved]
    if name == "rotation":
        large_change = None
    else:
        large_change = change(act(action, elements[-1], v, u, large, sigma), large)
    g1, g2 = element(0.1), element(0.1)
    in_turn = act(action, g2, *act(action, g1, v, u, x, sigma), x, sigma)
    together = act(action, g2 @ g1, v, u, x, sigma)
    gap = sum(float((a - b).norm() / b.norm()) for a, b in zip(in_turn, together, strict=True))
    identity = sum(float((a - b).norm() / b.norm()) for a, b in zip(moved[0], (v, u), strict=True))
    return [change(moved[-1], x), *held_out, large_change, gap, identity]


def cost(action) -> float:
    torch.manual_seed(0)
    h, k = 1024, 1 if action.name == "rotation" else 200
    sigma = activation_of(nn.LeakyReLU(0.1))
    assert sigma is not None
    v, u, x = torch.randn(h, 784) / 28, torch.randn(h, h) / 32, torch.randn(784, k)
    g = torch.eye(h) + 0.1 * torch.randn(h, h) / 32
    s, moved = sigma.value(v @ x), sigma.value(g @ v @ x)
    wide = torch.randn(h, 200)

    def timed(call, repeat: int) -> float:
        call()
        times = []
        for _ in range(repeat):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        return statistics.median(times)

    product = timed(lambda: u @ wide, 20)

    def move():
        action.incoming(g, v, v @ x, x, sigma)
        action.outgoing(g, u, s, moved)

    return timed(move, 3) / product


if __name__ == "__main__":
    main()
