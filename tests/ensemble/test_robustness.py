"""Accuracy under attack: against the closed form of a linear model, and against one strength at a time."""

import json

import pytest
import torch
from torch import nn

from ensemble.nets import perceptron, shaken
from isoloss import find
from isoloss.ensemble import (
    FGSM,
    PGD,
    Ensemble,
    OnBatch,
    WithinActivation,
    orbit_ensemble,
    robustness_curve,
)

STRENGTHS = [0.0, 0.05, 0.1, 0.3]


def problem(samples=60):
    model = perceptron(6, 8, 3)
    with torch.no_grad():
        x = torch.rand(samples, 6).double()
        model[-1].bias.sub_(model(x).mean(0))  # so that every class occurs
    return model, x, model(x).argmax(-1)


def test_the_curve_of_a_linear_model_is_the_share_of_margins_beyond_s_times_the_norm():
    model = nn.Linear(6, 2).double()
    nn.init.zeros_(model.bias)
    x = torch.rand(200, 6).double()
    y = model(x).argmax(-1)
    w = (model.weight[1] - model.weight[0]).detach()
    margin = (model(x)[:, 1] - model(x)[:, 0]).abs()
    for norm, dual in (("linf", 1), ("l2", 2)):
        curve = robustness_curve(model, x, y, STRENGTHS, FGSM(norm=norm, valid=None))
        expected = [
            (margin > s * torch.linalg.vector_norm(w, dual)).double().mean().item() for s in STRENGTHS
        ]
        assert curve.accuracy == pytest.approx(expected) and 0 < expected[1] < 1
        assert curve.clean == 1.0 and curve.strengths == tuple(STRENGTHS)
    assert json.loads(json.dumps(curve.as_dict()))["clean"] == 1.0


@pytest.mark.parametrize("attack", [FGSM(), FGSM(norm="l2"), PGD(random_start=False)])
@pytest.mark.parametrize("batch", [None, 7, 60])
def test_all_strengths_at_once_and_in_batches_is_one_after_another(attack, batch):
    model, x, y = problem()
    ensemble = Ensemble.of(shaken(model, 4))
    for m in (model, ensemble):
        curves = [
            robustness_curve(m, x, y, STRENGTHS, attack, together=t, batch=batch) for t in (True, False)
        ]
        assert curves[0] == curves[1]
        assert curves[0].accuracy[-1] < curves[0].accuracy[0]


def test_an_ensemble_is_judged_by_its_vote_unless_told_otherwise():
    _, x, _ = problem()
    ensemble = Ensemble.of(shaken(perceptron(6, 8, 3), 5))
    y = ensemble.predict(x)
    assert robustness_curve(ensemble, x, y, [0.0], FGSM()).clean == 1.0
    by_mean = robustness_curve(
        ensemble, x, y, [0.0], FGSM(), predict=lambda x: ensemble.predict(x, by="mean")
    )
    assert by_mean.clean == (ensemble(x).argmax(-1) == y).double().mean()


def test_an_exact_orbit_is_exactly_as_robust_as_the_model():
    model, x, y = problem()
    ensemble = orbit_ensemble(model, find(model, x), 5, 0.1)
    for attack in (FGSM(), PGD(random_start=False)):
        assert robustness_curve(ensemble, x, y, STRENGTHS, attack) == robustness_curve(
            model, x, y, STRENGTHS, attack
        )


def test_a_data_dependent_orbit_is_another_classifier():
    model, x, y = problem()
    ensemble = orbit_ensemble(model, OnBatch(x[:8]), 9, 0.3, generator=torch.Generator().manual_seed(0))
    curve, plain = (robustness_curve(m, x, y, STRENGTHS, FGSM()) for m in (ensemble, model))
    assert curve.accuracy != plain.accuracy


def test_models_that_see_their_batch_are_attacked_at_one_strength_at_a_time():
    model, x, y = problem(8)
    ensemble = orbit_ensemble(model, WithinActivation("1", 8), 3, 0.2)
    # eight samples on eight units: (2.55) is the model, batch by batch
    alone = robustness_curve(ensemble, x, y, STRENGTHS, FGSM(), together=False)
    assert alone == robustness_curve(model, x, y, STRENGTHS, FGSM())


def test_any_function_is_an_attack():
    model, x, y = problem()
    curve = robustness_curve(model, x, y, [1.0], lambda model, x, y, s: torch.zeros_like(x))
    zero = model(torch.zeros_like(x)).argmax(-1)
    assert curve.accuracy[0] == pytest.approx((zero == y).double().mean().item())


def test_refusals():
    model, x, y = problem()
    with pytest.raises(ValueError, match="at least one"):
        robustness_curve(model, x, y, [], FGSM())
    with pytest.raises(ValueError, match="not negative"):
        robustness_curve(model, x, y, [-1.0], FGSM())
    with pytest.raises(ValueError, match="class per sample"):
        robustness_curve(model, x, y[:3], [0.1], FGSM())
    with pytest.raises(ValueError, match="batch must be"):
        robustness_curve(model, x, y, [0.1], FGSM(), batch=0)
