"""What all directions share: they run under vmap, are finite everywhere, and know what they suit."""

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.learn.directions import DIRECTIONS, Direction
from learn.directions.points import POINTS

UNITS, TURNS = {"scale", "whiten"}, {"crest"}
PAIRS = [(n, p) for n in DIRECTIONS for p in POINTS if n not in (TURNS if p != "rotation" else UNITS)]
# There is no action through activations that are all zero, or no numbers.
AT_THE_ENDS = [(n, p) for n, p in PAIRS if p != "dependent" or n in UNITS]


def test_registry_knows_them_by_their_names():
    assert {name: make.name for name, make in DIRECTIONS.items()} == {name: name for name in DIRECTIONS}
    assert all(isinstance(make(), Direction) for make in DIRECTIONS.values())


@pytest.mark.parametrize("point", POINTS)
def test_scale_and_whiten_suit_no_rotation_crest_nothing_else_and_the_others_all(point):
    action = POINTS[point]().action
    suit = {name for name, make in DIRECTIONS.items() if make().suits(action)}
    assert suit == DIRECTIONS.keys() - (UNITS if point == "rotation" else TURNS)


@pytest.mark.parametrize(("name", "point"), PAIRS)
def test_many_tasks_at_once_are_each_alone(name, point):
    points, direction = [POINTS[point]() for _ in range(3)], DIRECTIONS[name]()
    action = points[0].action
    parts = [
        {n: torch.stack([getattr(p, part)[n] for p in points]) for n in getattr(points[0], part)}
        for part in ("parameters", "data", "gradient")
    ]

    def propose(parameters, data, gradient):
        return direction(action, lambda w: points[0].task(w, data), parameters, data, gradient)

    together = vmap(propose)(*parts)
    assert together.shape == (3, *action.batch, *action.group.algebra_shape)
    for i, p in enumerate(points):
        # Two runs of one computation, of some hundred operations, through matrices of condition below 1e4.
        assert_close(together[i], p.propose(direction), rtol=0, atol=1e-10)
    assert_close(action.group.project(together), together, rtol=0, atol=1e-15)
    if name not in UNITS | TURNS:
        # A norm of 1 to rounding: n^1.5 eps for each of some four operations.
        assert_close(action.group.norm(together), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("name", "point"), AT_THE_ENDS)
@pytest.mark.parametrize("size", [0.0, 1e-200, 1e200])
def test_finite_where_there_is_nothing_and_where_numbers_end(name, point, size):
    p, direction = POINTS[point](), DIRECTIONS[name]()
    p.parameters = {n: size * torch.ones_like(t) for n, t in p.parameters.items()}
    assert bool(p.propose(direction).isfinite().all())


@pytest.mark.parametrize("name", ["balance", "gradient-norm", "lookahead"])
def test_nothing_is_proposed_where_all_weights_are_zero(name):
    p = POINTS["linear"]()
    p.parameters = {n: torch.zeros_like(t) for n, t in p.parameters.items()}
    assert_close(p.propose(DIRECTIONS[name]()), torch.zeros(5, 5, dtype=torch.float64), rtol=0, atol=0)
