import pytest
import torch
from torch import nn

from dependent.nets import closure, perceptron, search_of, somewhere
from isoloss.dependent._damping import deficient, least


def sites(model, k):
    """The layers of a search, and what they see at the identity."""
    recursion = search_of(model, closure(model, k))[0].recursion
    return recursion.sites, recursion.at(recursion.start()).traces


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_samples_are_dependent_where_units_are_dead_and_only_there(dtype):
    model = perceptron(6, 16, 12, 3).to(dtype)
    x = torch.randn(11, 6).to(dtype)

    def found(x):
        search, _ = search_of(model, lambda: model(x).square().sum())
        traces = search.recursion.at(search.start()).traces
        return [deficient(s, t) for s, t in zip(search.recursion.sites, traces, strict=True)]

    assert found(x)[1] is False
    model[1] = nn.ReLU()
    with torch.no_grad():
        model[0].bias[:10] = -100.0
    assert found(x)[1] is True  # 6 live units and a bias for 11 samples
    assert found(x[:3])[1] is False
    assert found(x[:2].repeat(2, 1))[1] is True
    assert found(torch.randn(60, 6).to(dtype)) == [False] * 3  # many samples are no question of rank


@pytest.mark.parametrize("k", [7, 30])
def test_the_least_damping_is_the_least_of_the_ladder(k):
    model = perceptron(6, 8, 7, 3, activation=nn.Tanh)
    recursion = search_of(model, closure(model, k))[0].recursion
    thetas = somewhere(recursion, 0.3)
    site, x = recursion.sites[1], recursion.forward(thetas)[1].x
    theta = recursion.theta(site, thetas)

    def change(damping):
        w = site.damped(damping, site.still).fitted(x, theta, bottom=False).w
        return torch.linalg.vector_norm(w - site.matrix)

    limit = 0.5 * (change(0.0) + change(1e6))
    found = least(site, x, theta, limit)
    assert found > 0.0 and change(found) <= limit < change(found / 10**0.5)
    # From there on nothing has to be added, and a limit that cannot be met gives the largest.
    assert least(site.damped(found, site.still), x, theta, 2 * change(0.0)) > found
    assert least(site, x, theta, 0.0 * limit) == pytest.approx(10 * x.norm().item() ** 2 / min(x.shape))
