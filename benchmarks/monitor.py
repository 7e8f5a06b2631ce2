"""What watching the conserved quantities costs, beside the training step that it watches.

    python benchmarks/monitor.py            # ResNet-18 at several batches and sizes, an MLP, a GPT; about a minute
    python benchmarks/monitor.py --json     # and write benchmarks/results/monitor.json

CPU time of one process with one thread, medians of rounds in which a step and a record follow each other. A step is
the zeroing of the gradients, a forward and a backward pass and SGD with momentum (AdamW for the GPT). The bar: a record
after every step costs at most 5 % of a step of ResNet-18 on 128 images of CIFAR's size.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import isoloss
from isoloss import flow
from models import GPT, _resnet18, images

RESULTS = Path(__file__).resolve().parent / "results" / "monitor.json"
BAR = 0.05


def resnet(batch: int, size: int) -> Callable:
    def build():
        model = _resnet18().train()
        x, y = images(batch, size), torch.randint(1000, (batch,))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        return model, x[:2], lambda: cross_entropy(model(x), y), optimizer

    return build


def mlp():
    model = nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
    )
    x, y = torch.randn(200, 784), torch.randint(10, (200,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    return model, x[:2], lambda: cross_entropy(model(x), y), optimizer


def gpt():
    model = GPT(512, 128, 192, 4, 6)
    tokens = torch.randint(512, (8, 129))
    x, y = tokens[:, :-1], tokens[:, 1:]
    loss = lambda: cross_entropy(model(x).flatten(0, 1), y.flatten())  # noqa: E731
    return model, x[:2], loss, torch.optim.AdamW(model.parameters(), lr=1e-4)


CASES: dict[str, tuple[Callable, bool]] = {
    "ResNet-18, 2 images of 64 x 64": (resnet(2, 64), False),
    "ResNet-18, 16 images of 64 x 64": (resnet(16, 64), False),
    "ResNet-18, 64 images of 32 x 32": (resnet(64, 32), False),
    "ResNet-18, 128 images of 32 x 32": (resnet(128, 32), True),
    "MLP 784-1024-1024-10, batch 200": (mlp, False),
    "GPT of 4 blocks, width 192, 8 x 128 tokens": (gpt, False),
}


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(
        f"{'':44}{'parameters':>12}{'quantities':>12}{'numbers':>9}{'step':>10}{'record':>10}{'share':>8}  bar"
    )
    for name, (build, judged) in CASES.items():
        row = {"case": name, **measure(build, options.rounds)}
        row["bar"] = BAR if judged else None
        row["passed"] = row["share"] <= BAR if judged else None
        rows.append(row)
        print(
            f"{name:44}{row['parameters']:12,}{row['quantities']:12}{row['numbers']:9}{row['step_ms']:8.1f}ms"
            f"{row['record_ms']:8.2f}ms{row['share']:8.2%}  "
            + {True: "passed", False: "MISSED", None: ""}[row["passed"]],
            flush=True,
        )
    if options.json:
        setting = {"torch": torch.__version__, "threads": 1, "rounds": options.rounds, "clock": "CPU time"}
        Path(options.json).write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")
    return 0 if all(row["passed"] is not False for row in rows) else 1


def measure(build: Callable, rounds: int) -> dict:
    torch.manual_seed(0)
    model, example, loss, optimizer = build()
    monitor = flow.Monitor(optimizer, isoloss.find(model, example, verify=False))

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    steps, records = [], []
    for turn in range(rounds + 1):
        times = [timed(step), timed(monitor.step)]
        if turn:  # the first round warms up
            steps.append(times[0])
            records.append(times[1])
    one, other = statistics.median(steps), statistics.median(records)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "quantities": len(monitor.quantities),
        "numbers": monitor.quantities.count,
        "step_ms": 1e3 * one,
        "record_ms": 1e3 * other,
        "share": other / one,
    }


def timed(call: Callable) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    raise SystemExit(main())
