"""What a recipe refuses, and its curriculum."""

import pytest

from isoloss.learn import Recipe

WRONG = {
    "no runs": ({"runs": 0}, "runs must be a whole number of at least 1; got 0"),
    "half a task": ({"batch": 0.5}, "batch must be a whole number of at least 1; got 0.5"),
    "no horizon": ({"horizon": 0}, "horizon must be"),
    "no unroll": ({"unroll": -1}, "unroll must be"),
    "no pairs": ({"pairs": 0}, "pairs must be"),
    "no validation": ({"validation": 0}, "validation must be"),
    "no patience": ({"patience": 0}, "patience must be"),
    "no lr": ({"lr": 0.0}, "lr must be positive; got 0.0"),
    "no clip": ({"clip": float("nan")}, "clip must be positive; got nan"),
    "no sigma": ({"sigma": -1.0}, "sigma must be positive"),
    "weights": ({"weights": "first"}, "weights must be one of uniform, linear, last; got 'first'"),
    "objective": ({"objective": "root"}, "objective must be one of log, value; got 'root'"),
    "estimator": ({"estimator": "guess"}, "estimator must be one of backprop, evolution; got 'guess'"),
    "half a pair": ({"curriculum": (3,)}, r"a curriculum is pairs of .*; got \(3,\); write \(3, 10\), say"),
    "no length": ({"curriculum": (3, 0)}, "a curriculum is pairs"),
    "no segment": ({"segment": 0}, "segment must be a whole number of at least 1, or None; got 0"),
    "no such part": ({"part_lr": (("tel", 10.0),)}, "part_lr must give positive factors for parts, .*; got"),
    "no factor": ({"part_lr": (("tele", 0.0),)}, "part_lr must give positive factors"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_wrong_recipes_are_told(settings, message):
    with pytest.raises(ValueError, match="Recipe: " + message):
        Recipe(**settings)


def test_unrolls_grow():
    recipe = Recipe(runs=20, horizon=30, unroll=50, curriculum=(3, 5, 2, 10))
    assert [recipe.unroll_in(run) for run in range(20)] == [5] * 6 + [10] * 4 + [30] * 10
    assert Recipe(unroll=7).unroll_in(0) == 7


def test_what_is_published():
    recipe = Recipe.published(700, horizon=50)
    assert (recipe.runs, recipe.batch, recipe.horizon, recipe.unroll) == (700, 1, 50, 10)
    assert (recipe.lr, dict(recipe.part_lr)["tele"], recipe.objective) == (1e-4, 10.0, "value")
    assert recipe.clip == float("inf")
