"""Propositions 2.7.2 and 2.7.3 along the flow."""

import pytest
import torch
from torch.testing import assert_close

from isoloss import flow


def run(scale: float, t: float = 1.0):
    torch.manual_seed(0)
    problem = flow.RadialFactorization(torch.randn(5, 10).double())
    start = problem.start(
        scale * torch.tensor([0.5, -1.0, 4.0, 1.0]).double(), scale * torch.full((4,), 0.9).double()
    )
    return problem, flow.gradient_flow(
        problem.loss, start, torch.linspace(0.0, t, 11), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("scale", [0.7, 2.0])
def test_singular_values_move_at_the_rate_of_the_proposition(scale):
    problem, found = run(scale)
    conserved = problem.conserved(found[0])
    values = torch.stack([problem.singular_values(found[i])[0] for i in range(len(found))])
    target = problem.singular_values(found[0])[1]
    for i in (0, 3, 10):
        assert_close(problem.conserved(found[i]), conserved, rtol=1e-8, atol=0.0)
        velocity = {n: v[i] for n, v in found.velocities.items()}
        _, moving = torch.func.jvp(lambda p: problem.singular_values(p)[0], (found[i],), (velocity,))
        assert_close(moving, flow.convergence_rate(values[i], target, conserved), rtol=1e-6, atol=1e-8)
    bound = flow.convergence_bound(values[0], target, conserved, found.t[:, None])
    assert ((values - target).abs() <= bound * (1 + 1e-9) + 1e-9).all()
    assert (values[0] > target).any() and (values[0] < target).any()  # from both sides
    assert (values[-1] - values[0]).abs().max() > 0.1


def test_the_flow_stays_spectral():
    problem, found = run(1.0)
    phi, _, psi = torch.linalg.svd(problem.target, full_matrices=False)
    inner = phi.mT @ problem.product(found[-1]) @ psi.mT
    off = inner - torch.diag_embed(inner.diagonal())
    assert off.abs().max() < 1e-8 * inner.abs().max()


def test_small_conserved_quantities_converge_faster():
    """The same product, by (c u) g(c v): its distance to the target after the same time."""
    gaps = []
    for scale in (0.5, 1.0, 2.0):
        problem, found = run(scale, t=0.2)
        values, target = problem.singular_values(found[-1])
        gaps.append(float((values - target).norm()))
        assert_close(problem.singular_values(found[0])[0], torch.tensor([0.5, -1.0, 4.0, 1.0]).double() / 0.9)
    assert gaps[0] < gaps[1] < gaps[2]


def test_the_inequality_of_the_proof_turns_round_above_the_target():
    """(2.46) bounds the velocity from below; above the target it is a bound from above. The bound (2.45) holds."""
    value, target, conserved = torch.tensor(3.0), torch.tensor(1.0), torch.tensor(2.0)
    velocity = flow.convergence_rate(value, target, conserved)
    assert velocity == -100.0 and velocity < (target - value) / conserved


def test_bad_diagonals_are_refused_in_one_sentence():
    problem = flow.RadialFactorization(torch.randn(3, 4))
    for u, v in (
        (torch.ones(2), torch.ones(3)),
        (torch.ones(4), torch.ones(4)),
        (torch.ones(2), torch.zeros(2)),
    ):
        with pytest.raises(ValueError, match="two vectors of at most 3 numbers"):
            problem.start(u, v)
