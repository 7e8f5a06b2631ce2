"""How much faster 100 networks train together (torch.func.vmap) than one after another.

Prints a table and writes results/train_together.json. `floor` is what the two products of the first layer, outputs and
gradient, take alone, at the speed at which torch multiplies large matrices here: no way to train can be faster.
Processor time on one thread, the best of several repetitions of each, taken in turns:

    python benchmarks/train_together.py
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

from isoloss.reproduce._network import Perceptron
from isoloss.reproduce._together import BLOCK, Together, cross_entropy, hot, stack

NETWORKS = {
    "MNIST (Table 5.1)": (784, 16, 10, 10),
    "CIFAR-10, reduced": (3072, 32, 10, 10),
    "CIFAR-10 (Table 5.1)": (3072, 128, 32, 10),
}


def seconds(step, repeats):
    since = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - since) / repeats


def measure(widths, models, batch, rounds):
    x, y = torch.randn(batch, widths[0]), torch.randint(0, widths[-1], (batch,))
    together = Together(stack(widths, models, 0), cross_entropy, 0.01)
    block = [(torch.randn(batch, widths[0]), hot(y, widths[-1])) for _ in range(BLOCK)]
    many, first = torch.randn(BLOCK * batch, widths[0]), torch.randn(models * widths[1], widths[0])
    outgoing = many @ first.mT
    networks = [Perceptron(widths, torch.Generator().manual_seed(i)) for i in range(models)]
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.01) for network in networks]

    def loop():
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            torch_cross_entropy(network(x), y).backward()
            optimizer.step()

    def products():
        torch.mm(many, first.mT, out=outgoing)
        first.addmm_(outgoing.mT, many, alpha=1e-9)

    together.steps(block), loop(), products()
    told = {"together": [], "loop": [], "floor": []}
    for _ in range(rounds):
        told["together"].append(seconds(lambda: together.steps(block), 2) / BLOCK)
        told["loop"].append(seconds(loop, 2))
        told["floor"].append(seconds(products, 2) / BLOCK)
    return {name: min(values) for name, values in told.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, widths in NETWORKS.items():
        told = measure(widths, options.models, options.batch, options.rounds)
        rows.append({"network": name, "widths": widths} | {f"{key}_ms": 1e3 * v for key, v in told.items()})
        together, loop, floor = (1e3 * told[key] for key in ("together", "loop", "floor"))
        print(
            f"{name:20} {str(widths):20} together {together:6.2f} ms, loop {loop:6.2f} ms a step of all, "
            f"{loop / together:4.1f} times faster; floor {floor:5.2f} ms, {loop / floor:4.1f} times"
        )
    result = {"models": options.models, "batch": options.batch, "torch": torch.__version__, "rows": rows}
    out = Path(__file__).parent / "results" / "train_together.json"
    out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
