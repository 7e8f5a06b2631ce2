"""The badly scaled scene changes weights and not the function."""

import pytest
import torch

from isoloss.demo._models import MODELS, build
from isoloss.demo._scenes import change, scalings, scenes
from isoloss.finding import find
from isoloss.symmetry import Symmetries

SIGMA = 1.5


@pytest.fixture(params=list(MODELS))
def model(request):
    return build(request.param, (1, 8, 8), 10, 64, seed=0)


def test_outputs_stay_while_weights_move(model):
    x = torch.randn(16, 1, 8, 8)
    symmetries = find(model, x)
    _, badly = scenes(symmetries, SIGMA)
    before = {n: p.clone() for n, p in model.named_parameters()}
    assert change(badly, model, symmetries, seed=0, x=x) <= 1e-10
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    badly.prepare_(model, symmetries, seed=0)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    # Norms start with a bias of zero, which no scaling moves.
    assert moved == {n for s in scalings(symmetries) for n in s.parameters if before[n].any()}


def test_factors_are_log_normal_and_follow_the_seed():
    model = build("mlp", (1, 8, 8), 10, 512, seed=0)
    symmetries = find(model, torch.randn(4, 1, 8, 8))
    before = model[1].weight.detach().clone()
    _, badly = scenes(symmetries, SIGMA)
    badly.prepare_(model, symmetries, seed=0)
    logs = (model[1].weight[:, 0] / before[:, 0]).log()
    # The deviation of 512 draws errs by sigma / sqrt(2 * 512) = 0.047, the mean by sigma / sqrt(512) = 0.066.
    assert abs(logs.std() - SIGMA) < 4 * 0.047 and abs(logs.mean()) < 4 * 0.066
    again = build("mlp", (1, 8, 8), 10, 512, seed=0)
    badly.prepare_(again, symmetries, seed=0)
    assert torch.equal(again[1].weight, model[1].weight)


def test_there_is_no_second_scene_without_a_scaling():
    model = torch.nn.Linear(3, 2)
    assert [s.name for s in scenes(Symmetries([], model), SIGMA)] == ["default"]
    mlp = build("mlp", (1, 8, 8), 10, 16, seed=0)
    assert [s.name for s in scenes(find(mlp, torch.randn(4, 1, 8, 8)), 0.0)] == ["default"]


def test_default_scene_leaves_the_weights_alone(model):
    symmetries = find(model, torch.randn(4, 1, 8, 8))
    before = [p.clone() for p in model.parameters()]
    scenes(symmetries, SIGMA)[0].prepare_(model, symmetries, seed=0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
