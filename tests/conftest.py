"""What every test shares: fixed seeds, and one thread so that workers do not fight over the cores."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Models made where a file is read do not depend on which files were read before it."""
    if isinstance(collector, pytest.Module):
        seed()
    return (yield)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    seed()
