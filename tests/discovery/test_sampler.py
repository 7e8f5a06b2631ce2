"""Samples, seeded and checked."""

import pytest
import torch
from torch import nn

from isoloss.discovery import normal
from isoloss.discovery._sampler import Sampler, seeded


def test_the_same_seed_draws_the_same_and_leaves_the_generator_alone():
    sampler = Sampler(normal(w=(2,)), normal(x=(3,)), "here")
    before = torch.random.get_rng_state()
    one, again, other = sampler(5, 1), sampler(5, 1), sampler(5, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b, c in zip(one, again, other, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_seeded_restores_the_generator_after_an_error():
    before = torch.random.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.randn(3)
        raise ZeroDivisionError
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parameters_of_modules_are_values():
    """As in torch.stack([nn.Linear(2, 2).weight for _ in range(n)]), which has a graph."""
    sampler = Sampler(
        lambda n: torch.stack([nn.Linear(2, 2).weight for _ in range(n)]), normal(x=(2,)), "here"
    )
    assert not sampler(3, 0)[0].requires_grad


def test_dtypes_are_those_of_the_parameters_and_float32_at_least():
    def of(params, data):
        drawn = Sampler(lambda n: torch.ones(n, 2, dtype=params), lambda n: torch.ones(n, dtype=data), "here")
        return drawn.dtype, *(t.dtype for t in drawn(2, 0))

    assert of(torch.float64, torch.float32) == (torch.float64,) * 3
    assert of(torch.float32, torch.float64) == (torch.float32,) * 3
    assert of(torch.bfloat16, torch.float32) == (torch.float32,) * 3
    assert of(torch.float32, torch.int64) == (torch.float32,) * 3


def grows():
    sizes = iter(range(2, 100))
    return lambda n: torch.randn(n, next(sizes))


def renames():
    names = iter("abcdef")
    return lambda n: {next(names): torch.randn(n)}


@pytest.mark.parametrize(
    "params, told",
    [
        (None, "here: sample_params must be a function of the number of samples; got None"),
        (torch.ones(3), "must be a function of the number of samples; got tensor"),
        (lambda: torch.ones(3), "must be a function of the number of samples"),
        (lambda n: None, "samples must be tensors of real numbers|got no tensor"),
        (lambda n: torch.ones(n, 2, dtype=torch.long), r"got torch.int64 of shape \(2, 2\)"),
        (lambda n: torch.randn(7, 2), r"sample_params\(n\) must return n samples .* got 7 for n = 2"),
        (
            lambda n: torch.full((n, 2), float("nan")),
            "samples must be finite; got nan or inf from sample_params",
        ),
        (
            grows(),
            r"sample_params: samples must have the same shapes from call to call; got \(3,\) after \(2,\)",
        ),
        (renames(), "sample_params: samples must be alike from call to call"),
    ],
)
def test_what_does_not_sample_is_refused(params, told):
    with pytest.raises(ValueError, match=told):
        Sampler(params, normal(x=()), "here")


def test_the_data_are_checked_alike():
    with pytest.raises(ValueError, match="here: sample_data: samples must have the same shapes"):
        Sampler(normal(w=()), grows(), "here")


def test_normal_names_what_it_draws():
    drawn = normal(w=(3, 2), b=())(5)
    assert drawn["w"].shape == (5, 3, 2) and drawn["b"].shape == (5,)
