"""What becomes of the optimizer's state in a teleport: the strategies of the dissertation's section 5.4.1, compared.

    python benchmarks/strategies.py                    # the table; under a minute on one core
    python benchmarks/strategies.py --json             # and write benchmarks/results/strategies.json
    python benchmarks/strategies.py --only adam        # some optimizers (may be repeated)

The setting of that section: a 3-layer LeakyReLU network (slope 0.1) with weights 6x5, 7x6 and 8x7, four samples, all
entries uniform on [0, 1], one teleport at epoch 5. Every contender has its own best learning rate of six, by the
mean loss after the last step over the seeds; a run that diverges counts as the loss at the start. Beside the strategies
stand two controls, the plain optimizer and its state reset without a move. Differs: exact scalings (radius 0.3) instead
of 10 ascent steps of the data-dependent action, so that the loss does not change in the jump.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import mse_loss

from isoloss import Teleport, find
from isoloss.teleport import GradientNorm, Mahalanobis, at

RESULTS = Path(__file__).resolve().parent / "results" / "strategies.json"
STEPS, JUMP, RADIUS, SEEDS = 100, 5, 0.3, 5

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any], float]] = {
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, 3e-3),
    "adagrad": (torch.optim.Adagrad, {}, 1e-1),
    "rmsprop": (torch.optim.RMSprop, {}, 1e-2),
    "adam": (torch.optim.Adam, {}, 1e-1),
    "adamw": (torch.optim.AdamW, {}, 1e-1),
}
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def contenders(optimizer: str) -> dict[str, dict[str, Any]]:
    """Arguments of `Teleport` by the name of the contender; None for the plain optimizer."""
    policies = {p: {"momentum": p, "second_moments": p} for p in ("transport", "keep", "reset")}
    found: dict[str, dict[str, Any]] = {
        "plain": {"schedule": at()},
        "reset without moving": {"radius": 0.0, **policies["reset"]},
    }
    for policy, options in policies.items():
        found[f"{policy}, gradient norm"] = {"objective": GradientNorm(), **options}
        if optimizer != "momentum":
            moved = "transport" if policy == "transport" else "keep"
            found[f"{policy}, Mahalanobis"] = {"objective": Mahalanobis(second_moments=moved), **options}
    return found


def network() -> nn.Sequential:
    """The network of section 5.4.1."""
    model = nn.Sequential(
        *(nn.Linear(5, 6, bias=False), nn.LeakyReLU(0.1)),
        *(nn.Linear(6, 7, bias=False), nn.LeakyReLU(0.1)),
        nn.Linear(7, 8, bias=False),
    )
    for p in model.parameters():
        nn.init.uniform_(p)
    return model


SYMMETRIES = find(network(), torch.rand(4, 5))


def run(optimizer: str, rate: float, options: dict[str, Any], seed: int) -> float:
    """The last loss of one run."""
    torch.manual_seed(seed)
    model, x, y = network(), torch.rand(4, 5), torch.rand(4, 8)
    cls, settings, _ = OPTIMIZERS[optimizer]
    chosen = cls(model.parameters(), lr=rate, **settings)
    teleport = Teleport(chosen, SYMMETRIES.bind(model), **{"schedule": at(JUMP), "radius": RADIUS, **options})
    start = loss = float("nan")
    for step in range(STEPS + 1):
        chosen.zero_grad()
        value = mse_loss(model(x), y)
        loss = value.item()
        start = loss if step == 0 else start
        if not math.isfinite(loss) or loss > 10 * start or step == STEPS:
            break
        value.backward()
        teleport.step()
        chosen.step()
    return loss if math.isfinite(loss) and loss < start else start


def compare(optimizer: str, seeds: int) -> dict[str, dict[str, float]]:
    """For every contender its best rate, the mean of the last losses there, and their standard error."""
    table = {}
    for name, options in contenders(optimizer).items():
        rates = [OPTIMIZERS[optimizer][2] * factor for factor in FACTORS]
        losses = {
            rate: torch.tensor([run(optimizer, rate, options, s) for s in range(seeds)]) for rate in rates
        }
        best = min(losses, key=lambda rate: losses[rate].mean())
        shared = OPTIMIZERS[optimizer][2]
        table[name] = {
            "rate": best,
            "loss": losses[best].mean().item(),
            "error": (losses[best].std() / math.sqrt(seeds)).item(),
            "loss_at_the_shared_rate": losses[shared].mean().item(),
        }
    return table


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", action="append", choices=list(OPTIMIZERS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if options.json and options.only and RESULTS.exists() else {}
    for optimizer in options.only or OPTIMIZERS:
        found[optimizer] = compare(optimizer, options.seeds)
        print(f"\n{optimizer:28}{'best rate':>10}{'loss':>12}{'+-':>10}{'at the shared rate':>20}")
        for name, row in found[optimizer].items():
            numbers = f"{row['rate']:10.1e}{row['loss']:12.4g}{row['error']:10.1g}"
            print(f"  {name:26}{numbers}{row['loss_at_the_shared_rate']:20.4g}", flush=True)
    if options.json:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
