"""Data-dependent teleports of a trained network: what they gain, and what held-out images notice.

    python benchmarks/dependent_trained.py                      # about a minute
    python benchmarks/dependent_trained.py --json               # and write benchmarks/results/dependent_trained.json
    python benchmarks/dependent_trained.py --data mnist.npz     # another place of the images

784-128-128-10 with LeakyReLU and without biases, 400 steps of SGD (rate 0.1, batches of 100) on 12,000 images of MNIST;
then a teleport for batches of 20, 100, 200 and 2000 of them, and beside it

- the same with 100 instead of 10 steps,
- the same without damping, which draws steps back by halves to stay in bounds,
- the papers' Algorithm 1, which starts at its published rate,
- at radius 0.1 a reference that knows nothing of elements and fits: 100 steps in float64 over all weights, on the level
  set of the loss, with every matrix in the same ball around where it was.

Gains are those of the squared gradient norm of the batch; changes of the loss are relative, and so are those of the
outputs of the batch.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu

from isoloss import dependent, find
from teleport_cost import algorithm_1

RESULTS = Path(__file__).resolve().parent / "results" / "dependent_trained.json"
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "mnist.npz"


def main() -> None:
    """Train, teleport and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int, default=400, help="of SGD before the teleport")
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3], help="of the papers' algorithm")
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = images(options.data)
    train, other = slice(0, 12000), slice(12000, 14000)
    model = trained(x[train], y[train], options.steps)
    home = [p.detach().clone() for p in model.parameters()]
    symmetries = find(model, x[:2])
    rows: list[dict[str, Any]] = []
    for batch in (20, 100, 200, 2000):
        data = (x[:batch], y[:batch]), (x[other], y[other])
        loss = lambda data=data: cross_entropy(model(data[0][0]), data[0][1])  # noqa: E731
        before = numbers(model, *data)

        def tell(what: str, data=data, batch=batch, before=before, **settings) -> None:
            rows.append({"batch": batch, "what": what} | settings | effect(before, numbers(model, *data)))
            put_back(model, home)
            show(rows[-1])

        for radius in (0.03, 0.1, 0.3):
            dependent.teleport_(symmetries, loss, radius=radius)
            tell("teleport", radius=radius)
        if batch < 128:
            dependent.teleport_(symmetries, loss, keep="loss")
            tell("keep='loss'", radius=0.1)
        dependent.teleport_(symmetries, loss, steps=100)
        tell("100 steps", radius=0.1)
        with undamped():
            dependent.teleport_(symmetries, loss)
        tell("without damping", radius=0.1)
        for rate in options.rates if batch < 2000 else ():
            moved, _ = algorithm_1([p.clone() for p in home], x[:batch].T, y[:batch], rate)
            put_back(model, moved)
            tell("Algorithm 1", rate=rate)
        put_back(model, reference(home, *data[0], radius=0.1))
        tell("reference", radius=0.1)
    if options.json:
        settings = {"torch": torch.__version__, "threads": 1, "steps": options.steps}
        Path(options.json).write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


@contextmanager
def undamped() -> Iterator[None]:
    """Searches that keep to the bound on the weights by halving their steps alone."""
    usual = dependent.Search._damp
    dependent.Search._damp = lambda *_: (False, 1.0)
    try:
        yield
    finally:
        dependent.Search._damp = usual


def reference(home: list[Tensor], x: Tensor, y: Tensor, radius: float, steps: int = 100) -> list[Tensor]:
    """Ascent over all weights on the level set of the loss, each matrix within its bound, in float64."""
    x, start = x.double(), [w.double() for w in home]
    # The middle layer belongs to two pairs.
    bounds = [(exp(n * radius) - 1) * w.norm() for n, w in zip((1, 2, 1), start, strict=True)]

    def loss(weights: list[Tensor]) -> Tensor:
        h = x
        for w in weights[:-1]:
            h = leaky_relu(h @ w.T)
        return cross_entropy(h @ weights[-1].T, y)

    def within(weights: list[Tensor]) -> list[Tensor]:
        return [
            s + (w - s) * (b / (w - s).norm()).clamp(max=1.0)
            for w, s, b in zip(weights, start, bounds, strict=True)
        ]

    def settled(here: list[Tensor]):
        """Into the balls, and back to the level set by Newton steps; with the loss and its gradient there."""
        for corrections in range(3, -1, -1):
            here = [w.detach().requires_grad_() for w in within(here)]
            value = loss(here)
            slope = torch.autograd.grad(value, here, create_graph=True)
            square = sum(g.square().sum() for g in slope)
            if corrections == 0 or abs(value.item() - level) < 1e-9 * level:
                break
            with torch.no_grad():
                here = [w + (level - value) / square * g for w, g in zip(here, slope, strict=True)]
        return here, value, slope, square

    level, best, most, here = loss(start).item(), start, 0.0, start
    for step in range(steps + 1):
        here, value, slope, square = settled(here)
        if abs(value.item() - level) < 1e-6 * level and square.item() > most:
            best, most = [w.detach() for w in here], square.item()
        climb = torch.autograd.grad(square, here)
        with torch.no_grad():
            part = sum((c * g).sum() for c, g in zip(climb, slope, strict=True)) / square
            climb = [c - part * g for c, g in zip(climb, slope, strict=True)]
            # Steps of a tenth of the balls at first, shorter towards the end.
            length = 0.1 * (1 - step / (steps + 1))
            here = [w + length * b * c / c.norm() for w, b, c in zip(here, bounds, climb, strict=True)]
    return [w.float() for w in best]


def images(path: Path):
    with np.load(path) as file:
        x, y = file["x_train"][:14000], file["y_train"][:14000]
    return torch.tensor(x).flatten(1).float() / 255, torch.tensor(y).long()


def trained(x, y, steps: int) -> nn.Sequential:
    linear = lambda i, o: nn.Linear(i, o, bias=False)  # noqa: E731
    model = nn.Sequential(linear(784, 128), nn.LeakyReLU(), linear(128, 128), nn.LeakyReLU(), linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        chosen = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return model


def numbers(model: nn.Module, batch, other) -> tuple[float, float, float, Tensor]:
    outputs = model(batch[0])
    value = cross_entropy(outputs, batch[1])
    found = torch.autograd.grad(value, list(model.parameters()))
    with torch.no_grad():
        squared = sum(g.double().square().sum().item() for g in found)
        return squared, value.item(), cross_entropy(model(other[0]), other[1]).item(), outputs.detach()


def effect(before, after) -> dict[str, float]:
    gain, change, held_out = (a / b for a, b in zip(after[:3], before[:3], strict=True))
    outputs = ((after[3] - before[3]).norm() / before[3].norm()).item()
    return {"gain": gain, "loss_change": change - 1, "held_out_change": held_out - 1, "outputs": outputs}


@torch.no_grad()
def put_back(model: nn.Module, home) -> None:
    for p, then in zip(model.parameters(), home, strict=True):
        p.copy_(then)


def show(row: dict[str, Any]) -> None:
    size = f"radius {row['radius']}" if "radius" in row else f"rate {row['rate']:g}"
    print(
        f"{row['batch']:4} {row['what']:16} {size:12} gain {row['gain']:7.4f}   "
        f"change of loss {row['loss_change']:9.1e}, held out {row['held_out_change']:9.1e}, "
        f"outputs {row['outputs']:8.1e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
