"""The three strategies of the dissertation's section 5.4.1, in its setting, for every optimizer that it names."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.testing import assert_close

from isoloss.teleport import GradientNorm, Mahalanobis, Teleport, at
from networks import mlp, mlp_symmetries

OPTIMIZERS = {
    "momentum": (SGD, {"lr": 3e-4, "momentum": 0.9}),
    "Adagrad": (Adagrad, {"lr": 0.1}),
    "RMSprop": (RMSprop, {"lr": 0.01}),
    "Adam": (Adam, {"lr": 0.03}),
    "AdamW": (AdamW, {"lr": 0.03}),
}
MOMENTS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "square_avg", "sum")
JUMP = 5


def run(name, policy, objective, steps=40, radius=0.3):
    """Losses; parameters and state on both sides of the jump."""
    torch.manual_seed(1)
    model = mlp(5, 6, 7, 8, activation=lambda: nn.LeakyReLU(0.1), bias=False).double()
    x, y = torch.rand(4, 5).double(), torch.rand(4, 8).double()
    for p in model.parameters():
        nn.init.uniform_(p)
    cls, options = OPTIMIZERS[name]
    optimizer = cls(model.parameters(), **options)
    policies = {"momentum": policy, "second_moments": policy}
    teleport = Teleport(optimizer, mlp_symmetries(model), objective, at(JUMP), radius, **policies)
    losses, sides = [], []

    def look():
        state = {
            k: optimizer.state[p][k].clone()
            for p in model.parameters()
            for k in optimizer.state[p]
            if k in MOMENTS
        }
        return [p.detach().clone() for p in model.parameters()], state, mse_loss(model(x), y).item()

    for step in range(steps):
        optimizer.zero_grad()
        loss = mse_loss(model(x), y)
        loss.backward()
        losses.append(loss.item())
        before = look()
        if teleport.step() is not None:
            assert step == JUMP
            sides = [before, look()]
        optimizer.step()
    return losses, *sides


@pytest.mark.parametrize("objective", [GradientNorm(), Mahalanobis()], ids=["2-norm", "A-norm"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_strategies_move_the_parameters_alike_and_the_state_as_they_say(name, objective):
    runs = {policy: run(name, policy, objective) for policy in ("transport", "keep", "reset")}
    moved = [after[0] for _, _, after in runs.values()]
    for policy, (losses, before, after) in runs.items():
        assert_close(after[0], moved[0], rtol=0.0, atol=0.0)
        assert not torch.equal(after[0][0], before[0][0])
        assert after[2] == pytest.approx(before[2], rel=1e-13)
        assert losses[-1] < losses[JUMP] and all(x == x for x in losses)
        for key, value in after[1].items():
            if policy == "transport":
                # No scale leaves exp(+-0.3) on either side of an entry; squares feel it twice.
                ratio = (value / before[1][key]).log().abs()
                assert 0.1 < ratio.max() <= 1.2 + 1e-9
            else:
                assert_close(value, before[1][key] * (policy == "keep"), rtol=0.0, atol=0.0)
    ends = [losses[-1] for losses, *_ in runs.values()]
    assert len(set(ends)) == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_reset_without_a_move_is_another_run(name):
    """The control that belongs beside every teleported optimizer: it differs from plain and from teleported."""
    plain, control, teleported = (
        run(name, policy, GradientNorm(), radius=radius)[0][-1]
        for policy, radius in (("keep", 0.0), ("reset", 0.0), ("reset", 0.3))
    )
    assert len({plain, control, teleported}) == 3
