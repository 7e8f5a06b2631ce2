"""How a symmetry is learned."""

import json
from math import inf
from types import MappingProxyType

import numpy as np
import pytest

from isoloss.discovery import Recipe
from isoloss.discovery.terms import TERMS


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"steps": 0}, "Recipe: steps must be a whole number of at least 1; got 0"),
        ({"batch": 1.5}, "batch must be a whole number"),
        ({"validate": True}, "validate must be a whole number"),
        ({"validation": 1}, "validation must be a whole number of at least 2; got 1"),
        ({"patience": -1}, "patience must be a whole number of at least 0; got -1"),
        ({"seed": None}, "seed must be a whole number"),
        ({"lr": 0.0}, "lr must be positive; got 0.0"),
        ({"generator_lr": -1}, "generator_lr must be positive"),
        ({"beta": float("nan")}, "beta must be positive; got nan"),
        ({"clip": 0}, "clip must be positive"),
        ({"enough": -0.1}, "enough must not be negative"),
        ({"samples": 0}, "samples must be a whole number of at least 1, or None; got 0"),
        ({"weights": {"norms": 1.0}}, "weights must be of known terms, .*norm.*; got norms"),
        ({"weights": {"norm": -1.0}}, "weights must be finite and not negative; got -1.0 for norm"),
        ({"weights": {"norm": inf}}, "weights must be finite"),
    ],
)
def test_what_is_out_of_range_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Recipe(**settings)


def test_the_published_settings():
    """Sections 6.5.3 and 6.5.4."""
    free, dependent = Recipe.published(), Recipe.published(dependent=True)
    names = ("invariance", "identity", "norm", "orthogonality", "sparsity")
    assert [free.weights[n] for n in names] == [10, 1, 1, 1, 0.1] and free.samples == 2000
    assert [dependent.weights[n] for n in names] == [1, 10, 10, 1, 0.1] and dependent.samples == 10000
    assert free.weights.keys() == {*names, "associativity"} and set(free.weights) <= set(TERMS)
    assert free.lr == free.generator_lr == 1e-3 and not free.decay and free.clip == inf
    assert Recipe.published(steps=7, lr=0.1).steps == 7


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe.published(dependent=True),
        Recipe(steps=np.int64(7), lr=np.float32(0.5), weights=MappingProxyType({"norm": 1})),
    ],
)
def test_words_say_it_all(recipe):
    again = Recipe.read(json.loads(json.dumps(recipe.words, allow_nan=False)))
    assert again == Recipe.read(recipe.words) and again.words == recipe.words
    assert again.weights == dict(recipe.weights) and again.clip == recipe.clip and again.steps == recipe.steps
