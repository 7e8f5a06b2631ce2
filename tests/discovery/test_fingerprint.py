"""Texts that tell fields and data apart by what they hold, and are the same in every process."""

import copy
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from isoloss.discovery._fingerprint import fingerprint


@dataclass(frozen=True)
class Held:
    x: torch.Tensor
    n: int = 2

    def method(self):
        return self.x


def closure(x):
    def inner(y=1):
        return x

    return inner


class Scaled(nn.Linear):
    def __init__(self, scale: float):
        super().__init__(2, 2)
        self.scale = scale
        nn.init.ones_(self.weight)
        nn.init.ones_(self.bias)


ONE, TWO = torch.ones(2), torch.tensor([1.0, 1.0 + 2**-23])

PAIRS = {
    "tensors": (ONE, TWO),
    "dtypes": (ONE, ONE.double()),
    "shapes": (ONE, ONE.reshape(1, 2)),
    "half": (ONE.bfloat16(), 2 * ONE.bfloat16()),
    "dicts": ({"a": ONE}, {"b": ONE}),
    "nested": ([ONE, (ONE,)], [(ONE,), ONE]),
    "arrays": (np.ones(2), np.zeros(2)),
    "objects": (Held(ONE), Held(ONE, 3)),
    "methods": (Held(ONE).method, Held(TWO).method),
    "closures": (closure(ONE), closure(TWO)),
    "partial": (partial(closure, ONE), partial(closure, TWO)),
    "settings of modules": (Scaled(1.0), Scaled(2.0)),
    "numbers": (1, 1.0),
    "built in": (torch.sin, torch.cos),
}


@pytest.mark.parametrize(("one", "two"), PAIRS.values(), ids=PAIRS)
def test_what_differs(one, two):
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(one) == fingerprint(one)


@pytest.mark.parametrize("one", [Held(ONE), {"a": [ONE, 3]}, Scaled(2.0), np.ones(2)])
def test_copies_are_alike(one):
    assert fingerprint(copy.deepcopy(one)) == fingerprint(one)


def test_what_holds_itself():
    loop = []
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop) != fingerprint([])


def test_other_processes_agree():
    """Also on what has no text but its address."""
    things = "{'a': torch.ones(2)}, torch.Generator(), object(), torch.sin"
    code = (
        f"import torch; from isoloss.discovery._fingerprint import fingerprint; print(fingerprint({things}))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == fingerprint({"a": torch.ones(2)}, torch.Generator(), object(), torch.sin)
