"""Permutations and signs: found where they matter, and known where they do not."""

from itertools import permutations, product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Block, Slot, Symmetry
from isoloss.teleport import SOLVERS, Balance, DiscreteSearch, GradientNorm, Point
from networks import hidden, mlp
from teleport.solvers.solving import Any, arrived, fourth_powers, point_of, solve


def network(width=6):
    model = mlp(4, width, 3, activation=nn.Tanh).double()
    symmetries = [*hidden(model, Permutation, "units"), *hidden(model, SignFlip, "signs")]
    return symmetries, point_of(model, torch.randn(9, 4).double(), torch.randn(9, 3).double())


def distance_to(target):
    return Any(lambda _, tensors: sum((tensors[n] - t).square().sum() for n, t in target.items()), lower=True)


def scrambled(symmetries, point, seed=3):
    generator = torch.Generator().manual_seed(seed)
    elements = [s.sample(generator=generator, dtype=torch.float64) for s in symmetries]
    return arrived(symmetries, point, elements)


@pytest.mark.parametrize("width", [3, 6])
def test_it_finds_weights_that_were_permuted_and_flipped(width):
    """3 neurons have 48 arrangements and all are tried; 6 have 46080, and swaps and flips find the way."""
    symmetries, point = network(width)
    target = scrambled(symmetries, point)
    found = solve(DiscreteSearch(2000), distance_to(target), symmetries, point)
    assert found.before > 0.1 and found.after < 1e-28
    assert_close(arrived(symmetries, point, found.elements), target, rtol=0.0, atol=0.0)
    assert found.size == 0.0


def test_with_few_elements_the_best_of_all_is_found():
    symmetries, point = network(3)
    target = {n: torch.randn_like(t) for n, t in point.tensors.items()}
    objective = distance_to(target)
    found = solve(DiscreteSearch(48), objective, symmetries, point)
    best = min(
        objective.evaluate(point, arrived(symmetries, point, [torch.tensor(p), torch.tensor(s).double()]))
        for p in permutations(range(3))
        for s in product((1.0, -1.0), repeat=3)
    )
    assert_close(found.after, best, rtol=1e-13, atol=0.0)


def test_it_never_gets_worse_and_more_trials_are_no_worse():
    symmetries, point = network(6)
    objective = distance_to({n: torch.randn_like(t) for n, t in point.tensors.items()})
    ends = [solve(DiscreteSearch(k), objective, symmetries, point).after for k in (5, 50, 500)]
    before = objective.evaluate(point, point.tensors)
    assert before >= ends[0] >= ends[1] >= ends[2] and before > ends[2]


def test_batches_of_permutations_are_searched_row_by_row():
    slot = Slot("0.weight", Block.whole((4, 3, 5)), (0, 1))
    symmetry = Symmetry(Permutation(3), (slot,), (4,))
    point = Point({"0.weight": torch.randn(4, 3, 5).double()}, {}, {"0.weight": 0.1})
    target = scrambled([symmetry], point)
    found = solve(DiscreteSearch(3000), distance_to(target), [symmetry], point)
    assert_close(arrived([symmetry], point, found.elements), target, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("objective", [GradientNorm(), Balance()], ids=lambda o: o.name)
def test_sums_of_squares_are_known_not_to_change(objective):
    symmetries, point = network()
    asked = []
    silent = type(point)(point.tensors, point.gradients, point.rates, lambda t: asked.append(t))
    found = solve(DiscreteSearch(), objective, symmetries, silent)
    assert found.elements == [None, None] and not asked
    assert found.skipped.startswith("permutations and signs do not change a sum of squares")
    # And it is true:
    there = scrambled(symmetries, point)
    moved = torch.func.grad(point.loss)({n: there[n] for n in point.rates})
    norms = [sum(g.square().sum() for g in many.values()) for many in (moved, point.gradients)]
    assert_close(*norms, rtol=1e-12, atol=0.0)


def test_what_treats_neurons_alike_gives_the_identity():
    symmetries, point = network()
    found = solve(DiscreteSearch(40), Any(fourth_powers), symmetries, point)
    assert found.elements == [None, None] and "changes the objective" in found.skipped


def test_what_it_uses():
    slots = (Slot("w", Block.whole((4, 4)), (0,)),)
    uses = [
        DiscreteSearch().uses(Symmetry(g, slots))
        for g in (Permutation(4), SignFlip(4), GeneralLinear(4), PositiveScaling(4))
    ]
    assert uses == [True, True, False, False]
    with pytest.raises(ValueError, match="trials must be a whole number of at least 1; got 0"):
        DiscreteSearch(0)


def test_it_is_registered():
    assert SOLVERS["discrete-search"] is DiscreteSearch
