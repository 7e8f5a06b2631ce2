"""How much faster 100 networks train together (torch.func.vmap) than one after another.

Prints a table and writes results/train_together.json. Processor time on one thread, the best of several
repetitions of each, taken in turns:

    python benchmarks/train_together.py
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

from isoloss.reproduce._network import Perceptron
from isoloss.reproduce._together import Together, cross_entropy, hot, stack

NETWORKS = {"MNIST (Table 5.1)": (784, 16, 10, 10), "CIFAR-10, reduced": (3072, 32, 10, 10)}


def seconds(step, repeats):
    since = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - since) / repeats


def measure(widths, models, batch, rounds):
    x, y = torch.randn(batch, widths[0]), torch.randint(0, widths[-1], (batch,))
    together = Together(stack(widths, models, 0), cross_entropy, 0.01)
    targets = hot(y, widths[-1])
    networks = [Perceptron(widths, torch.Generator().manual_seed(i)) for i in range(models)]
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.01) for network in networks]

    def loop():
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            torch_cross_entropy(network(x), y).backward()
            optimizer.step()

    together.step(x, targets), loop()
    pairs = [(seconds(lambda: together.step(x, targets), 10), seconds(loop, 2)) for _ in range(rounds)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, widths in NETWORKS.items():
        together, loop = measure(widths, options.models, options.batch, options.rounds)
        rows.append({"network": name, "widths": widths, "together_ms": 1e3 * together, "loop_ms": 1e3 * loop})
        print(
            f"{name:20} {str(widths):20} together {1e3 * together:7.2f} ms, loop {1e3 * loop:7.2f} ms a step of all, "
            f"{loop / together:5.1f} times faster"
        )
    result = {"models": options.models, "batch": options.batch, "torch": torch.__version__, "rows": rows}
    out = Path(__file__).parent / "results" / "train_together.json"
    out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
