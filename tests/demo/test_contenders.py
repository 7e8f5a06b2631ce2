"""Contenders differ in what they say they differ in."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from isoloss.demo._contenders import CONTENDERS
from isoloss.demo._figure import STYLES
from isoloss.demo._models import build
from isoloss.finding import find

BY_NAME = {c.name: c for c in CONTENDERS}


def stepped(contender, jumps_at):
    """Weights and the report after one step from a badly scaled start."""
    torch.manual_seed(0)
    x, y = torch.randn(32, 1, 8, 8), torch.randint(10, (32,))
    model = build("mlp", (1, 8, 8), 10, 32, seed=0)
    symmetries = find(model, x)
    symmetries.act_(symmetries.sample(0.5, torch.Generator().manual_seed(0)))
    optimizer, teleport = contender.equip(model, symmetries, rate=0.01, radius=0.1, jumps_at=jumps_at)
    optimizer.zero_grad()
    loss = cross_entropy(model(x), y)
    loss.backward()
    jump = teleport.step() if teleport else None
    after = cross_entropy(model(x), y)
    optimizer.step()
    return model, jump, loss.item(), after.item()


@pytest.mark.parametrize("contender", [c for c in CONTENDERS if c.teleport], ids=lambda c: c.name)
def test_contender_jumps_without_changing_the_loss(contender):
    _, jump, before, after = stepped(contender, frozenset({0}))
    assert jump is not None and jump.skipped is None
    # A float32 loss over factors of up to exp(1.5): a few roundings, each at most eps times their product.
    assert after == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("contender", [c for c in CONTENDERS if c.teleport], ids=lambda c: c.name)
def test_without_its_jumps_it_is_the_one_it_is_judged_against(contender):
    ours, jump, *_ = stepped(contender, frozenset())
    theirs, *_ = stepped(BY_NAME[contender.against], frozenset())
    assert jump is None
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_gradient_norm_rises_and_balance_lowers_the_weights():
    plain, *_ = stepped(BY_NAME["SGD"], frozenset())
    _, jump, *_ = stepped(BY_NAME["SGD + teleport"], frozenset({0}))
    assert jump.gradient_norm_after > jump.gradient_norm_before
    balanced, *_ = stepped(BY_NAME["SGD + balance"], frozenset({0}))
    norm = lambda model: sum(p.square().sum() for p in model.parameters())  # noqa: E731
    assert norm(balanced) < norm(plain)


def test_jumps_are_spread_over_the_first_epoch():
    assert BY_NAME["SGD + teleport"].jumps_at(4, 45) == {0, 11, 22, 33}
    assert BY_NAME["SGD + teleport"].jumps_at(0, 45) == frozenset()
    assert BY_NAME["Adam + balance"].jumps_at(4, 45) == {0}
    assert BY_NAME["SGD"].jumps_at(4, 45) == frozenset()


def test_everyone_has_a_colour_and_six_rates():
    assert set(STYLES) == set(BY_NAME)
    assert all(len(c.rates) >= 6 for c in CONTENDERS)
