"""Weights as one matrix, and lengths of numbers of any size."""

import pytest
import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.learn import Layout
from isoloss.learn._flat import length, length_or_one

EPS = torch.finfo(torch.float64).eps


def test_there_and_back():
    tensors = {"a": torch.randn(5, 2, 3), "b": torch.randn(5), "c": torch.randn(5, 4)}
    layout = Layout.of(tensors)
    assert layout.shapes == (("a", (2, 3)), ("b", ()), ("c", (4,))) and layout.sizes == (6, 1, 4)
    flat = layout.flatten(tensors)
    assert flat.shape == (5, layout.size)
    back = layout.unflatten(flat)
    assert back.keys() == tensors.keys()
    for name, t in tensors.items():
        assert_close(back[name], t, rtol=0, atol=0)


def test_one_value_per_tensor():
    layout = Layout((("a", (2, 3)), ("b", ()), ("c", (4,))))
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    spread = layout.spread(values)
    assert spread[1].tolist() == [4.0] * 6 + [5.0] + [6.0] * 4
    assert_close(layout.per_tensor(spread), values)
    rms = layout.per_tensor(torch.arange(11.0)[None])
    expected = [part.square().mean().sqrt() for part in torch.arange(11.0).split(layout.sizes)]
    assert_close(rms[0], torch.stack(expected))


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_lengths_neither_overflow_nor_vanish(size):
    x = torch.randn(3, 7, dtype=torch.float64)
    # Rounding of a quotient, squares, their sum and a product.
    assert_close(length(size * x) / size, x.norm(dim=1, keepdim=True), rtol=16 * EPS, atol=0)
    assert_close(length_or_one(size * x), length(size * x), rtol=0, atol=0)


def test_lengths_of_nothing_and_of_no_numbers():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [torch.nan, 1.0]])
    assert_close(length(x), torch.tensor([[0.0], [5.0], [torch.nan]]), equal_nan=True, rtol=0, atol=0)
    assert_close(length_or_one(x[:2]), torch.tensor([[1.0], [5.0]]), rtol=0, atol=0)


def test_the_derivative_of_a_length_is_the_direction():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    found = grad(lambda x: length(x).sum())(x)
    assert_close(found, torch.tensor([[0.0, 0.0], [0.6, 0.8]], dtype=torch.float64), rtol=4 * EPS, atol=0)
