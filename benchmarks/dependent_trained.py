"""Data-dependent teleports of a trained network: what they gain, and what held-out images notice.

    python benchmarks/dependent_trained.py                      # about a minute
    python benchmarks/dependent_trained.py --data mnist.npz     # another place of the images

784-128-128-10 with LeakyReLU and without biases, 400 steps of SGD (rate 0.1, batches of 100) on 12,000 images of MNIST;
then a teleport for batches of 20, 200 and 2000 of them, and the papers' Algorithm 1 beside it, which starts at its
published rate. Gains are those of the squared gradient norm of the batch; changes of the loss are relative.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoloss import dependent, find
from teleport_cost import algorithm_1

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "mnist.npz"


def main() -> None:
    """Train, teleport and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int, default=400, help="of SGD before the teleport")
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3], help="of the papers' algorithm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = images(options.data)
    train, other = slice(0, 12000), slice(12000, 14000)
    model = trained(x[train], y[train], options.steps)
    home = [p.detach().clone() for p in model.parameters()]
    symmetries = find(model, x[:2])
    held_out = lambda: cross_entropy(model(x[other]), y[other])  # noqa: E731
    for batch in (20, 200, 2000):
        loss = lambda batch=batch: cross_entropy(model(x[:batch]), y[:batch])  # noqa: E731
        before = numbers(model, loss, held_out)
        for radius in (0.03, 0.1, 0.3):
            dependent.teleport_(symmetries, loss, radius=radius)
            show(f"{batch}, radius {radius}", before, numbers(model, loss, held_out))
            put_back(model, home)
        for rate in options.rates if batch < 2000 else ():
            moved, _ = algorithm_1([p.clone() for p in home], x[:batch].T, y[:batch], rate)
            put_back(model, moved)
            show(f"{batch}, Algorithm 1 at rate {rate:g}", before, numbers(model, loss, held_out))
            put_back(model, home)


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


def numbers(model: nn.Module, loss, held_out) -> tuple[float, float, float]:
    value = loss()
    found = torch.autograd.grad(value, list(model.parameters()))
    with torch.no_grad():
        return sum(g.double().square().sum().item() for g in found), value.item(), held_out().item()


@torch.no_grad()
def put_back(model: nn.Module, home) -> None:
    for p, then in zip(model.parameters(), home, strict=True):
        p.copy_(then)


def show(what: str, before, after) -> None:
    gain, change, held_out = (a / b for a, b in zip(after, before, strict=True))
    print(
        f"{what:32} gain {gain:7.3f}   change of loss {change - 1:9.1e}, held out {held_out - 1:9.1e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
