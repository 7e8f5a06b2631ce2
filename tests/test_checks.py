"""What counts as a whole number, and what as a size."""

import math

import numpy as np
import pytest
import torch

from isoloss._checks import is_size, is_whole


@pytest.mark.parametrize("value", [0, 7, np.int64(3), np.uint8(0)])
def test_whole(value):
    assert is_whole(value)


@pytest.mark.parametrize("value", [-1, 2.0, True, "2", None, [1], math.nan, np.float64(1)])
def test_not_whole(value):
    assert not is_whole(value)


def test_whole_from_a_least_number_on():
    assert is_whole(1, least=1) and not is_whole(0, least=1)


@pytest.mark.parametrize("value", [0, 0.1, 3, math.inf, np.float32(0.5)])
def test_size(value):
    assert is_size(value)


@pytest.mark.parametrize("value", [-1, -math.inf, math.nan, True, "0.1", None, 1j, torch.ones(())])
def test_no_size(value):
    assert not is_size(value)
