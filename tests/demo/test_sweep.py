"""The sweep finds the best rate of a bowl, wherever it starts."""

import math

import pytest

from isoloss.demo._sweep import ranked, sweep

GRID = (0.0032, 0.01, 0.032, 0.1, 0.32, 1.0)


def bowl(best, diverges_above=math.inf):
    return lambda rate: math.inf if rate > diverges_above else abs(math.log10(rate / best))


@pytest.mark.parametrize("best", [1e-5, 0.001, 0.0032, 0.0056, 0.1, 0.18, 1.0, 3.2, 100.0])
def test_best_rate_of_a_bowl_is_found_to_a_quarter_decade(best):
    found = sweep(bowl(best), GRID)
    assert (
        abs(math.log10(ranked(found)[0] / best)) < 0.13
    )  # half a quarter decade, and rounding to two digits
    assert set(GRID) < set(found) and list(found) == sorted(found)


def test_best_is_never_at_an_edge_that_was_not_looked_beyond():
    found = sweep(bowl(0.001), GRID)
    assert min(found) < ranked(found)[0] < max(found)


def test_divergence_everywhere_ends_with_the_smallest_rate_tried():
    found = sweep(lambda rate: math.inf, GRID)
    assert ranked(found)[0] == min(found) and min(found) < 1e-5


def test_every_rate_is_tried_once():
    asked = []
    sweep(lambda rate: asked.append(rate) or bowl(10.0)(rate), GRID)
    assert len(asked) == len(set(asked))


def test_edge_of_stability_is_approached():
    assert ranked(sweep(bowl(1.0, diverges_above=0.2), GRID))[0] == 0.18
