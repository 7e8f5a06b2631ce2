"""Recovering planted group elements: on the zoo of the tests, and timed on perceptrons of growing width.

    python benchmarks/find_group_element.py            # about two minutes
    python benchmarks/find_group_element.py --json     # and write benchmarks/results/find_group_element.json

Zoo: random elements (scale 0.5) of all symmetries that `find` reports act at once, those exact up to eps included, on
every architecture that has a symmetry; recovered means a relative residual below 1e-8. Perceptrons: 64-w-w-w-10 with
LeakyReLU, random permutations and scalings; CPU time on one thread, for the moved point and for one beside the orbit.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from isoloss import find
from isoloss.connect import find_group_element
from isoloss.symmetry import Symmetries, named_tensors

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "find_group_element.json"


def planted(model: nn.Module, symmetries: Symmetries):
    a = {n: t.detach().clone() for n, t in named_tensors(model).items()}
    return a, a | symmetries.act(symmetries.sample(0.5), a)


def zoo(seed: int) -> dict:
    sys.path.insert(0, str(ROOT / "tests"))
    from zoo import ZOO

    found, missed = 0, {}
    for name, entry in ZOO.items():
        try:
            model, inputs = entry.build()
            symmetries = find(model, inputs)
        except (ValueError, ModuleNotFoundError):  # what `find` refuses, and optional packages
            continue
        if not len(symmetries):
            continue
        model = model.double()
        torch.manual_seed(seed)
        answer = find_group_element(*planted(model, symmetries), symmetries)
        if answer:
            found += 1
        else:
            missed[name] = answer.residual
    return {"seed": seed, "architectures": found + len(missed), "recovered": found, "missed": missed}


def perceptron(width: int) -> dict:
    layers: list[nn.Module] = []
    for i, o in ((64, width), (width, width), (width, width)):
        layers += [nn.Linear(i, o), nn.LeakyReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10)).double()
    symmetries = find(model, torch.randn(8, 64).double())
    a, b = planted(model, symmetries)
    row: dict = {"width": width, "parameters": sum(p.numel() for p in model.parameters())}
    beside = {n: t + 1e-3 * torch.randn_like(t) for n, t in b.items()}
    for kind, point in (("on the orbit", b), ("beside it", beside)):
        start = time.process_time()
        answer = find_group_element(a, point, symmetries)
        row[kind] = {"s": time.process_time() - start, "found": answer.found, "residual": answer.residual}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    result = {
        "torch": torch.__version__,
        "perceptrons": [perceptron(w) for w in (128, 512, 1024)],
        "zoo": zoo(1),
    }
    for row in result["perceptrons"]:
        print(row)
    print(result["zoo"])
    if arguments.json:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
