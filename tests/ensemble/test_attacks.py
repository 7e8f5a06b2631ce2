"""FGSM and PGD against closed forms, and against what must hold of any attack."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus
from torch.testing import assert_close

from ensemble.nets import perceptron, shaken
from isoloss.ensemble import ATTACKS, FGSM, PGD, Ensemble
from isoloss.ensemble.attacks import BALLS

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
NORMS = list(BALLS)
DUAL = {"linf": 1, "l2": 2}  # order of the dual norm: L1 and L2


def two_classes():
    """Logits (0, w.x + b): the loss of class 1 is softplus(-(w.x + b)), of class 0 softplus(w.x + b)."""
    model = nn.Linear(6, 2).double()
    with torch.no_grad():
        model.weight[0].zero_()
        model.bias[0].zero_()
    x, y = torch.rand(9, 6).double(), torch.randint(2, (9,))
    return model, x, y


def steep(*widths):
    """At initialization outputs hardly depend on inputs."""
    model = perceptron(*widths)
    with torch.no_grad():
        model[-1].weight.mul_(30.0)
    return model


def attack(name, norm, **options):
    if name == "pgd":
        options = {"steps": 40, "generator": torch.Generator().manual_seed(0)} | options
    return ATTACKS[name](norm=norm, **options)


def size(change, norm):
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@pytest.mark.parametrize("norm", NORMS)
def test_fgsm_of_a_linear_model_is_the_closed_form(norm):
    """The largest loss within the ball is softplus(s |w|* - margin), |.|* the dual norm."""
    model, x, y = two_classes()
    w, s = model.weight[1].detach(), 0.1
    sign = (2 * y - 1).double()
    margin = sign * (x @ w + model.bias[1].detach())
    direction = w.sign() if norm == "linf" else w / w.norm()
    moved = attack("fgsm", norm, valid=None)(model, x, y, s)
    assert_close(moved, x - s * sign[:, None] * direction, **CLOSE)
    worst = softplus(s * torch.linalg.vector_norm(w, DUAL[norm]) - margin)
    assert_close(cross_entropy(model(moved), y, reduction="none"), worst, **CLOSE)


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_of_a_linear_model_reaches_the_closed_form(norm):
    """Steps of 2.5 s / 40 along a constant direction: signs reach the corner, and l2 slides along the sphere to it."""
    model, x, y = two_classes()
    w, s = model.weight[1].detach(), 0.1
    sign = (2 * y - 1).double()
    margin = sign * (x @ w + model.bias[1].detach())
    worst = softplus(s * torch.linalg.vector_norm(w, DUAL[norm]) - margin)
    losses = {
        start: cross_entropy(
            model(attack("pgd", norm, valid=None, random_start=start)(model, x, y, s)), y, reduction="none"
        )
        for start in (False, True)
    }
    assert_close(losses[False].detach(), worst.detach(), **CLOSE)
    if norm == "linf":
        assert_close(losses[True], worst, **CLOSE)
    else:  # from a random point the angle to the best one shrinks geometrically; second order in it
        assert_close(losses[True], worst, rtol=1e-3, atol=1e-3)
    assert (losses[True] <= worst + 1e-12).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_within_a_box_the_worst_change_of_each_feature_is_clipped(name):
    """linf ball and box are both boxes: the best corner of their intersection is the clipped best corner."""
    model, x, y = two_classes()
    w, s = model.weight[1].detach(), 0.4
    best = x - s * (2 * y - 1).double()[:, None] * w.sign()
    corner = best.clamp(0.0, 1.0)
    assert (corner != best).any()
    assert_close(attack(name, "linf")(model, x, y, s), corner, **CLOSE)


def test_a_step_of_pgd_from_the_input_is_fgsm():
    model, x = perceptron(6, 8, 3), torch.rand(9, 6).double()
    y = torch.randint(3, (9,))
    for norm in NORMS:
        one = attack("pgd", norm, steps=1, rate=1.0, random_start=False)(model, x, y, 0.2)
        assert_close(one, attack("fgsm", norm)(model, x, y, 0.2), **CLOSE)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_keep_to_the_ball_and_the_range_and_raise_the_loss(name, norm):
    model, x = steep(12, 20, 3), torch.rand(30, 3, 4).double()
    model.insert(0, nn.Flatten())
    y = torch.randint(3, (30,))
    strengths = torch.rand(30).double()
    moved = (
        attack(name, norm, steps=5)(model, x, y, strengths)
        if name == "pgd"
        else attack(name, norm)(model, x, y, strengths)
    )
    assert (size(moved - x, norm) <= strengths * (1 + 1e-12)).all()
    assert moved.min() >= 0 and moved.max() <= 1
    control = (x + strengths[:, None, None] * BALLS[norm].steepest(torch.randn_like(x))).clamp(0, 1)
    before, random, after = (cross_entropy(model(z), y).item() for z in (x, control, moved))
    assert after > before and after > random
    exact = attack(name, norm)(model, x, y, 0.0)
    assert_close(exact, x, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters()) and not moved.requires_grad


def test_pgd_is_at_least_as_strong_as_fgsm_on_the_whole():
    model, x = steep(12, 40, 3), torch.rand(200, 12).double()
    y = model(x).argmax(-1)
    loss = {name: cross_entropy(model(attack(name, "linf")(model, x, y, 0.3)), y).item() for name in ATTACKS}
    assert loss["pgd"] > loss["fgsm"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_many_strengths_at_once_are_one_after_another(name, norm):
    model, x = perceptron(6, 8, 3), torch.rand(4, 6).double()
    y, strengths = torch.randint(3, (4,)), [0.0, 0.1, 0.3]
    options = {"random_start": False} if name == "pgd" else {}
    radius = torch.tensor(strengths, dtype=torch.float64).repeat_interleave(4)
    together = attack(name, norm, **options)(model, x.repeat(3, 1), y.repeat(3), radius)
    alone = torch.cat([attack(name, norm, **options)(model, x, y, s) for s in strengths])
    # 40 steps of rounding, and signs of gradients that no rounding turns: none is near zero here
    assert_close(together, alone, rtol=1e-9, atol=1e-9)


def test_bounds_may_be_tensors():
    model, x, y = two_classes()
    high = torch.full((6,), 2.0).double()
    high[0] = 1.0
    low = torch.zeros(6).double()
    moved = FGSM(valid=(low, high))(model, x, y, 1.5)
    assert (moved[:, 0] <= 1.0).all() and (moved[:, 1:] > 1.0).any() and (moved >= 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_ball(norm):
    """The radius of a uniform point of a d-ball to the power d is uniform: its mean is 1/2."""
    ball, like = BALLS[norm], torch.zeros(20_000, 3).double()
    points = ball.sample(like, torch.Generator().manual_seed(0))
    volume = size(points, norm) ** 3
    assert volume.max() <= 1
    # standard deviation of the mean: sqrt(1/12 / 20000) = 0.002; five of them
    assert volume.mean().item() == pytest.approx(0.5, abs=0.01)
    assert points.mean(0).abs().max() < 0.025  # variance of a coordinate at most 1/3: 0.004 each
    exactly = ball.sample(like, torch.Generator().manual_seed(0))
    assert_close(exactly, points, rtol=0, atol=0)


def test_projections_are_the_nearest_points():
    change, radius = torch.randn(50, 4).double(), torch.full((50, 1), 0.7).double()
    for norm in NORMS:
        p = BALLS[norm].project(change, radius)
        assert_close(BALLS[norm].project(p, radius), p, **CLOSE)
        # (change - p) . (q - p) <= 0 for every q of the ball
        q = 0.7 * BALLS[norm].sample(change, None)
        assert (((change - p) * (q - p)).sum(1) <= 1e-12).all()


def test_a_zero_gradient_moves_nothing():
    model = nn.Linear(6, 2).double()
    nn.init.zeros_(model.weight)
    x, y = torch.rand(3, 6).double(), torch.tensor([0, 1, 0])
    for norm in NORMS:
        assert_close(attack("fgsm", norm)(model, x, y, 0.5), x, rtol=0, atol=0)


def test_the_gradient_of_an_ensemble_is_that_of_its_mean():
    models = shaken(perceptron(6, 8, 3), 5)
    x, y = torch.rand(7, 6).double(), torch.randint(3, (7,))

    class Mean(nn.Module):
        def forward(self, x):
            return sum(m(x) for m in models) / 5

    for name in ATTACKS:
        options = {"random_start": False} if name == "pgd" else {}
        one, other = (attack(name, "l2", **options)(m, x, y, 0.3) for m in (Ensemble.of(models), Mean()))
        assert_close(one, other, rtol=1e-9, atol=1e-9)


REFUSED = {
    "tokens": (torch.randint(5, (3, 6)), 0.1, {}, "no gradient"),
    "not valid": (torch.randn(3, 6), 0.1, {}, "valid range"),
    "negative": (torch.rand(3, 6), -0.1, {}, "not negative"),
    "nan": (torch.rand(3, 6), float("nan"), {}, "not negative"),
    "too many": (torch.rand(3, 6), torch.ones(2), {}, "one per sample"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, name):
    x, strength, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        attack(name, "linf", **options)(nn.Linear(6, 2), x, torch.zeros(3, dtype=torch.long), strength)


def test_options_are_checked():
    with pytest.raises(ValueError, match="norm must be"):
        FGSM(norm="l1")
    with pytest.raises(ValueError, match="norm must be"):
        PGD(norm="l1")
    with pytest.raises(ValueError, match="steps must be"):
        PGD(steps=0)
    with pytest.raises(ValueError, match="rate must be"):
        PGD(rate=-1.0)
