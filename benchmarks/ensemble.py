"""How much faster 100 members are evaluated together than one after another.

    python benchmarks/ensemble.py           # print a table
    python benchmarks/ensemble.py --json    # and write benchmarks/results/ensemble.json

One thread, CPU time, float32, no gradients; medians over rounds that take the contenders in turns. The loop calls
each member as an ordinary module (`for model in models: model(x)`); it does not stack what they return. "auto" is the
default, which has recorded by then what it can; "vmap" is what modules of unknown code get.

- mlp: 10-32-32-4, every layer moved.
- mnist: 784-16-10, every layer moved.
- section 2.9: convolution, max pooling, two linear layers; the last two moved, the rest shared by all members.
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from isoloss import find
from isoloss.ensemble import OnBatch, orbit_ensemble

RESULTS = Path(__file__).resolve().parent / "results" / "ensemble.json"
BATCHES = (1, 16, 128)


def networks():
    """Each network with its input shape and the number of its last parameters that move; None for all."""
    return {
        "mlp": (
            nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4)),
            (10,),
            None,
        ),
        "mnist": (nn.Sequential(nn.Linear(784, 16), nn.LeakyReLU(), nn.Linear(16, 10)), (784,), None),
        "section 2.9": (
            nn.Sequential(
                nn.Conv2d(3, 8, 3),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(8 * 15 * 15, 32),
                nn.LeakyReLU(),
                nn.Linear(32, 10),
            ),
            (3, 32, 32),
            4,
        ),
    }


def seconds(f, least=0.02):
    """CPU time of one call, over at least so many seconds of calls."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < least:
        f()
        count += 1
    return spent / count


def row(name, members, batch, rounds):
    model, shape, moved = networks()[name]
    x = torch.randn(batch, *shape)
    symmetries = find(model, x[:1].repeat(4, *(1,) * len(shape)).normal_())
    if moved:
        symmetries = symmetries.within([n for n, _ in model.named_parameters()][-moved:])
    ensemble = orbit_ensemble(model, OnBatch(torch.randn(64, *shape), symmetries=symmetries), members, 0.1)
    ensemble.eval()
    models = [m.eval() for m in ensemble]
    mapped = copy.deepcopy(ensemble)
    mapped.evaluation = "vmap"
    contenders = {
        "auto": lambda: ensemble.outputs(x),
        "vmap": lambda: mapped.outputs(x),
        "loop": lambda: [m(x) for m in models],
    }
    with torch.no_grad():
        expected = torch.stack(contenders["loop"]())
        for f in contenders.values():
            torch.testing.assert_close(
                torch.as_tensor(torch.stack(tuple(f()))), expected, rtol=1e-4, atol=1e-4
            )
        times = {k: [] for k in contenders}
        for _ in range(rounds):
            for k, f in contenders.items():
                times[k].append(seconds(f))
    medians = {k: 1e3 * statistics.median(t) for k, t in times.items()}
    ratios = {k: round(medians["loop"] / medians[k], 2) for k in ("auto", "vmap")}
    return (
        {"network": name, "batch": batch}
        | {f"{k}_ms": round(t, 4) for k, t in medians.items()}
        | {"times_faster": ratios}
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH")
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for name in networks():
        for batch in BATCHES:
            rows.append(found := row(name, options.members, batch, options.rounds))
            print(
                f"{name:12} batch {batch:4}  auto {found['auto_ms']:8.3f} ms  vmap {found['vmap_ms']:8.3f} ms  "
                f"loop {found['loop_ms']:8.2f} ms  {found['times_faster']['auto']:5.1f} and "
                f"{found['times_faster']['vmap']:5.1f} times faster",
                flush=True,
            )
    if options.json:
        result = {
            "members": options.members,
            "rounds": options.rounds,
            "threads": 1,
            "torch": torch.__version__,
            "rows": rows,
        }
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
