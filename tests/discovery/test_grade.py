"""What is measured of a learned symmetry, and what is called none."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from discovery.losses import PAIR, RELU, SCALAR, awake, basis_changes, local, rescalings
from discovery.symmetries import SIGMOID, Compensate
from isoloss.discovery import normal
from isoloss.discovery._grade import Grade, graded
from isoloss.discovery.actions import Action, Linear, action_of

EPS = torch.finfo(torch.float64).eps
ONE = torch.ones(1, 1, 1, dtype=torch.float64)
GOOD = Grade((0.01, 0.02), (1.0, 0.9), 1.0, 0.0, 0.0, 2, 0.1, 0.0, 0.0, (0.01, 0.02), (0.01, 0.02))


def test_a_group_of_symmetries_is_graded_so():
    grade = graded(local(PAIR, Linear(8, 12), basis_changes(), n=32), 1.0)
    assert not grade.reasons and max(grade.invariance) < 1e-12 and grade.independent == 4
    assert grade.identity < 1e-15 and grade.associativity < 1e-14
    assert grade.data_dependence == grade.data_derivative == 0 and not grade.data_dependent
    assert grade.foreign == grade.invariance


def test_the_directions_of_a_group_close_under_brackets():
    """gl(2) does not commute, and closes; rescalings commute."""
    assert graded(local(PAIR, Linear(8, 12), basis_changes(), n=32), 1.0).bracket < 1e-12
    assert graded(local(RELU, Linear(4, 2), rescalings(), n=32), 1.0).bracket < 1e-12


def test_those_of_random_matrices_and_of_a_part_of_a_group_do_not():
    torch.manual_seed(0)
    random = torch.randn(2, 8, 8, dtype=torch.float64)
    assert graded(local(PAIR, Linear(8, 12), random, n=32), 1.0).bracket > 0.3
    # The two nilpotent matrices of gl(2): their bracket is the diagonal one, which is left out.
    assert graded(local(PAIR, Linear(8, 12), basis_changes()[1:3], n=32), 1.0).bracket > 0.3
    # Any one field closes.
    assert graded(local(PAIR, Linear(8, 12), random[:1], n=32), 1.0).bracket == 0


def test_the_bracket_is_that_of_matrices():
    """[h_1 theta, h_2 theta] = (h_2 h_1 - h_1 h_2) theta, less its part in the span, by hand."""
    torch.manual_seed(0)
    h = torch.randn(2, 8, 8, dtype=torch.float64)
    here = local(PAIR, Linear(8, 12), h, n=5)
    shares = []
    for theta in here.theta:
        v = h @ theta
        bracket = (h[1] @ h[0] - h[0] @ h[1]) @ theta
        outside = bracket - v.mT @ torch.linalg.lstsq(v.mT, bracket[:, None]).solution[:, 0]
        size = torch.stack([a @ b @ theta for a in h for b in h]).norm(dim=1).mean()
        shares.append(outside.norm() / size)
    assert_close(graded(here, 1.0).bracket, float(torch.stack(shares).median()), rtol=1e-12, atol=0)


def test_a_data_dependent_symmetry_is_measured_as_such():
    here = local(SIGMOID, Compensate(2, 2), ONE, n=64)
    grade = graded(here, 1.0)
    assert not grade.reasons and grade.data_dependent and grade.data_dependence > 0.1
    assert grade.data_derivative > 0.1
    # on the data of others it is no symmetry
    assert grade.foreign[0] > 0.1 > 1e-12 > grade.invariance[0]


def test_foreign_directions_are_those_of_the_next_data():
    here = local(SIGMOID, Compensate(2, 2), ONE, n=8)
    slopes, sizes, lengths = [], [], []
    for i in range(8):
        one = here.theta[i : i + 1], here.x[i - 1 : i]
        one = (one[0], here.x[i - 1].unsqueeze(0))
        v = here.action.directions(here.h, *one)[0, 0]
        theta = here.theta[i].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(here.losses.one(theta, here.x[i]).sum(), theta)
        slopes.append((gradient @ v) / (gradient.square().mean()).sqrt())
        lengths.append(v.square().sum())
        sizes.append(gradient)
    expected = (torch.stack(slopes).square().mean() / torch.stack(lengths).mean()).sqrt()
    assert_close(graded(here, 1.0).foreign[0], float(expected), rtol=1e-12, atol=0)


def test_the_dependence_on_data_of_directions_that_have_nothing_in_common_is_one():
    class Opposite(Action):
        reads_data = True

        def forward(self, g, theta, x):
            return theta + (g[0, 0] - 1) * torch.nn.functional.one_hot(x[:, 0].long() % 2, 2).to(theta)

    here = local(SCALAR, Opposite(2, 2), torch.eye(2, dtype=torch.float64)[None], n=6)
    here.x = torch.arange(6.0).double()[:, None].repeat(1, 2)
    assert_close(graded(here, 1.0).data_dependence, 1.0, rtol=0, atol=10 * EPS)


def test_the_derivative_by_data_is_a_derivative():
    """Against central differences along the same probe."""
    torch.manual_seed(0)
    here = local(SCALAR, awake(action_of("residual", 2, 2, {"width": 8})), torch.eye(2).double()[None])
    found = graded(here, 1.0).data_derivative
    here.generator.manual_seed(0)
    probe = torch.randn(here.x.shape, generator=here.generator, dtype=torch.float64)
    probe = probe / probe.norm(dim=1, keepdim=True)
    ends = [here.action.directions(here.h, here.theta, here.x + s * 1e-5 * probe) for s in (1, -1)]
    slope = (ends[0] - ends[1]).norm(dim=-1) / 2e-5 / here.directions.norm(dim=-1)
    assert_close(found, float(slope.detach().median()), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"norms": (1.0, 0.05)}, "the action is trivial: the directions of generator 1 have a median length of 0.05"),
        ({"norms": (0.0, 0.0)}, "the action is trivial: the directions of all generators"),
        ({"norms": (float("nan"), 1.0)}, "the action is trivial: the directions of generator 0"),
        ({"identity": 0.06}, "the identity moves the parameters by 0.06 of their length, above 0.05"),
        ({"identity": float("nan")}, "the identity moves the parameters by nan"),
        ({"invariance": (0.01, 0.5)}, "not invariant: along the directions of generator 1 it changes up to 0.5 times"),
        ({"invariance": (float("nan"), 0.01)}, "the loss is not invariant: along the directions of generator 0"),
        ({"typical": (0.01, 0.5)}, "few samples only: at half of them it changes along the directions of generator 1"),
        ({"typical": (float("nan"), 0.5)}, "few samples only: at half of them it changes along the directions of all"),
        ({"independent": 1}, "the generators are not independent: they move the parameters in 1 ways, not 2"),
    ],
)  # fmt: skip
def test_what_is_no_symmetry_is_told(changes, told):
    (reason,) = replace(GOOD, **changes).reasons
    assert told in reason
    assert not GOOD.reasons


def test_dependent_generators_are_counted_once():
    h = rescalings()
    grade = graded(local(RELU, Linear(4, 2), torch.stack([h[0], h[1], h[0] + h[1]]), n=16), 1.0)
    assert grade.independent == 2 and "in 2 ways, not 3" in grade.reasons[0]
    assert max(grade.invariance) < 1e-12  # each alone is a symmetry


def test_directions_that_are_invariant_where_they_are_long_are_no_symmetry():
    """Steps across the gradient at one sample in four, thirty times as long as any steps at the others."""
    plane = (lambda w, x: w["a"] @ x["x"]), normal(a=(6,)), normal(x=(6,))

    class Uneven(Action):
        reads_data = True

        def forward(self, g, theta, x):
            step = theta @ (g - torch.eye(6).to(g)).mT
            across = step - (step * x).sum(1, keepdim=True) / (x * x).sum(1, keepdim=True) * x
            return theta + torch.where(theta[:, :1].abs() > 1.15, 30 * across, step)

    h = torch.randn(1, 6, 6, dtype=torch.float64)
    grade = graded(local(plane, Uneven(6, 6), h, n=256), 1.0)
    assert grade.invariance[0] <= 0.1 and grade.norms[0] > 0.1
    (reason,) = grade.reasons
    assert "the loss is invariant at few samples only" in reason


def test_one_sample_of_data_says_nothing_of_others():
    here = local(SIGMOID, Compensate(2, 2), ONE, n=16)
    here.x = here.x[:1].repeat(16, 1)
    grade = graded(here, 1.0)
    assert math.isnan(grade.data_dependence) and math.isnan(grade.foreign[0]) and not grade.data_dependent
    assert not grade.reasons
