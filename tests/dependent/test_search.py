from functools import partial
from math import exp
from statistics import median

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from dependent.nets import (
    add_ones,
    batch,
    closure,
    convolutional,
    gradient_norm,
    moved,
    perceptron,
    search_of,
    somewhere,
    written,
)
from isoloss.dependent import Difference
from isoloss.dependent._layer import Layer
from isoloss.dependent._link import Measured


def twin(model, x, y, thetas, bases, damping=0.0):
    """The value, the loss and their derivatives by autograd through everything."""

    def loss(*matrices):
        z = x.mT
        for i, w in enumerate(matrices):
            z = w @ add_ones(model[1](z) if i else z)
        return cross_entropy(z.mT, y)

    def value(*matrices):
        found = torch.func.grad(loss, tuple(range(len(matrices))))(*matrices)
        return 0.5 * sum(g.square().sum() for g in found)

    thetas = [t.clone().requires_grad_() for t in thetas]
    there = moved(model, x, thetas, bases, damping)
    ends = value(*there), loss(*there)
    slopes, tilts = (torch.autograd.grad(end, thetas, retain_graph=True) for end in ends)
    return [end.item() for end in ends], slopes, tilts


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Tanh, nn.GELU], ids=lambda a: a.__name__)
@pytest.mark.parametrize("widths", [(6, 8, 7, 3), (6, 8, 20, 5, 3), (6, 14, 20, 9, 3)], ids=str)
@pytest.mark.parametrize("k", [1, 5, 12, 30])
def test_the_derivatives_are_those_of_autograd_through_pseudo_inverses(activation, widths, k):
    model = perceptron(*widths, activation=activation)
    x, y = torch.randn(k, 6).double(), torch.randint(3, (k,))
    search, _ = search_of(model, lambda: cross_entropy(model(x), y))
    for thetas in (search.start(), somewhere(search)):
        found = search.slopes(thetas)
        numbers, slopes, tilts = twin(model, x, y, thetas, search.recursion.bases)
        # Both sides invert Gram matrices of condition up to 1e6; the damping of ours is of the size of eps.
        assert_close([found.value, found.loss], numbers, rtol=1e-7, atol=1e-10)
        largest = max(s.abs().max().item() for s in slopes)
        for a, b in zip(found.slopes, slopes, strict=True):
            assert_close(a, b, rtol=1e-6, atol=1e-7 * largest + 1e-10)
        if found.tilts is None:
            assert all(t.abs().max() < 1e-8 for t in tilts)
        else:
            for a, b in zip(found.tilts, tilts, strict=True):
                assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Tanh], ids=lambda a: a.__name__)
@pytest.mark.parametrize("widths", [(6, 8, 7, 3), (6, 8, 20, 5, 3)], ids=str)
@pytest.mark.parametrize("k", [1, 5, 12, 30])
@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_the_derivatives_of_damped_fits_are_those_of_autograd(activation, widths, k, damping):
    model = perceptron(*widths, activation=activation)
    x, y = torch.randn(k, 6).double(), torch.randint(3, (k,))
    search, _ = search_of(model, lambda: cross_entropy(model(x), y))
    search.recursion.damp(dict.fromkeys(range(1, len(widths) - 1), damping))
    for thetas in (search.start(), somewhere(search)):
        found = search.slopes(thetas)
        numbers, slopes, tilts = twin(model, x, y, thetas, search.recursion.bases, damping)
        # Gram matrices have a condition number of up to 1e3 / damping, and rounding is damped by 8 eps more.
        assert_close([found.value, found.loss], numbers, rtol=1e-9, atol=1e-12)
        for ours, theirs in ((found.slopes, slopes), (found.tilts, tilts)):
            for a, b in zip(ours, theirs, strict=True):
                assert_close(a, b, rtol=1e-9, atol=1e-9)
        arrived = search.arrive(thetas)
        # The damping of rounding, against the same fits without.
        assert_close([arrived.value, arrived.loss], numbers, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "activation, pool", [(nn.Tanh, nn.AvgPool2d), (nn.GELU, nn.MaxPool2d)], ids=["avg", "max"]
)
@pytest.mark.parametrize("k", [1, 4, 20])
def test_the_derivatives_are_difference_quotients_on_images(activation, pool, k):
    model = convolutional(activation, pool)
    search, _ = search_of(model, closure(model, k))
    thetas = somewhere(search)
    found, direction, e = search.slopes(thetas), somewhere(search, 1.0), 1e-6
    ends = [search.value([t + s * d for t, d in zip(thetas, direction, strict=True)]) for s in (e, -e)]
    along = sum((s * d).sum().item() for s, d in zip(found.slopes, direction, strict=True))
    assert_close(along, (ends[0][0] - ends[1][0]) / (2 * e), rtol=1e-4, atol=1e-7)
    tilt = (
        0.0
        if found.tilts is None
        else sum((s * d).sum().item() for s, d in zip(found.tilts, direction, strict=True))
    )
    assert_close(tilt, (ends[0][1] - ends[1][1]) / (2 * e), rtol=1e-4, atol=1e-7)


MODELS = [(perceptron(6, 8, 7, 3), 5), (perceptron(6, 8, 7, 3), 30), (convolutional(), 4)]


@pytest.mark.parametrize("model, k", MODELS, ids=["few", "many", "images"])
def test_the_value_is_the_gradient_norm_of_the_moved_model(model, k):
    loss = closure(model, k)
    search, chain = search_of(model, loss)
    thetas = somewhere(search)
    home = [s.layer.matrix.clone() for s in chain.stages]
    for i, matrix in search.arrive(thetas).matrices.items():
        chain.stages[i].layer.write_(matrix)
    measured = gradient_norm(model, loss), loss().item()
    for stage, matrix in zip(chain.stages, home, strict=True):
        stage.layer.write_(matrix)
    # The search fits by a damped Cholesky factorization, the move by rank.
    assert_close(search.value(thetas), measured, rtol=1e-7, atol=1e-9)


def test_the_moved_matrices_are_what_the_elements_give_by_the_action():
    model = perceptron(6, 8, 7, 3)
    search, chain = search_of(model, closure(model, 5))
    thetas = somewhere(search)
    g1, g2 = (torch.eye(len(a)).double() + (a if b is None else a @ b) for a, b in search.changes(thetas))
    v, u, w = (s.layer.matrix for s in chain.stages)
    x, moved, rule = chain.stages[0].columns, search.arrive(thetas).matrices, Difference()
    assert_close(moved[0], g1 @ v)
    s1 = chain.stages[0].link.value(g1 @ v @ x)
    u_moved = g2 @ rule.outgoing(g1, u, chain.stages[1].columns, s1)
    assert_close(moved[1], u_moved)
    s2 = chain.stages[1].link.value(u_moved @ s1)
    assert_close(moved[2], rule.outgoing(g2, w, chain.stages[2].columns, s2))


@pytest.mark.parametrize("k", [5, 30])
@pytest.mark.parametrize("lower", [False, True])
def test_the_ascent_improves_within_the_radius_and_the_loss_stays(k, lower):
    model = perceptron(6, 8, 7, 3, activation=nn.Tanh)
    search, chain = search_of(model, closure(model, k), lower=lower)
    there = search.ascend(0.1, 10)
    thetas, before = there.thetas, there.before
    assert_close(before, search.value(search.start())[0])
    value, loss = search.value(thetas)
    # The search fits by a damped Cholesky factorization, the move by rank.
    assert_close([there.value, there.loss], [value, loss], rtol=1e-7, atol=1e-9)
    assert (value < 0.99 * before) if lower else (value > 1.01 * before)
    # Newton steps of the loss move the elements by its change over its slope, beyond the radius at most a little.
    assert all(torch.linalg.vector_norm(t) <= 0.1 * (1 + 1e-2) for t in thetas)
    # The tolerance of the Newton steps, LEVEL.
    assert_close(there.loss, chain.loss, rtol=1e-9, atol=0)


def test_without_levelling_the_loss_of_a_large_batch_moves():
    """A control: that the loss stays is not for lack of moving."""
    model = perceptron(6, 8, 7, 3, activation=nn.Tanh)
    search, chain = search_of(model, closure(model, 30))
    slopes = search.slopes(search.start()).slopes
    length = max(torch.linalg.vector_norm(s).item() for s in slopes)
    _, loss = search.value([0.1 * s / length for s in slopes])
    assert abs(loss - chain.loss) > 1e-5


def test_weights_say_how_much_a_layer_counts():
    model = perceptron(6, 8, 7, 3, bias=False)
    loss = closure(model, 5)
    search, _ = search_of(model, loss, weights={"0.weight": 0.25, "4.weight": 2.0})
    first, _, last = torch.autograd.grad(loss(), list(model.parameters()))
    expected = 0.125 * first.square().sum() + last.square().sum()
    assert_close(search.value(search.start())[0], expected.item())
    thetas, direction, e = somewhere(search), somewhere(search, 1.0), 1e-6
    along = sum((s * d).sum().item() for s, d in zip(search.slopes(thetas).slopes, direction, strict=True))
    ends = [search.value([t + s * d for t, d in zip(thetas, direction, strict=True)])[0] for s in (e, -e)]
    assert_close(along, (ends[0] - ends[1]) / (2 * e), rtol=1e-5, atol=1e-9)


def test_frozen_layers_do_not_count():
    model = perceptron(6, 8, 7, 3, bias=False)
    loss = closure(model, 5)
    model[0].weight.requires_grad_(False)
    search, _ = search_of(model, loss)
    found = torch.autograd.grad(loss(), [model[2].weight, model[4].weight])
    assert_close(search.value(search.start())[0], 0.5 * sum(g.square().sum() for g in found).item())


def test_dead_units_and_repeated_samples_do_no_harm():
    model = perceptron(6, 8, 7, 3, activation=nn.ReLU)
    with torch.no_grad():
        model[0].bias[:3] = -100.0
    x = torch.randn(4, 6).double().repeat(3, 1)
    y = torch.randint(3, (4,)).repeat(3)
    search, chain = search_of(model, lambda: cross_entropy(model(x), y))
    there = search.ascend(0.1, 5)
    assert there.value >= there.before and all(t.isfinite().all() for t in there.thetas)
    assert_close(there.loss, chain.loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize("k", [7, 20, 40, 60])
def test_with_dead_units_the_loss_stays_and_no_matrix_moves_too_far(k):
    model = perceptron(6, 16, 12, 3, activation=nn.ReLU)
    with torch.no_grad():
        model[0].bias[:10] = -100.0
    search, chain = search_of(model, closure(model, k))
    there = search.ascend(0.1, 10)
    # A fit that is exact in theory keeps it to sqrt(eps), Newton steps to LEVEL.
    assert_close(there.loss, chain.loss, rtol=1.5e-8, atol=0)
    for i, matrix in there.matrices.items():
        old = chain.stages[i].layer.matrix
        # e^(n r) with e^-r = 1 - 0.1: the middle layer belongs to two pairs.
        assert (matrix - old).norm() <= (0.9 ** -(2 if i == 1 else 1) - 1) * old.norm()


def test_a_batch_that_is_not_finite_moves_nothing():
    model = perceptron(6, 8, 7, 3)
    x, y = torch.randn(5, 6).double(), torch.randint(3, (5,))
    x[0, 0] = float("nan")
    search, _ = search_of(model, lambda: cross_entropy(model(x), y))
    there = search.ascend(0.1, 3)
    assert there.matrices == {} and there.before != there.before


@pytest.mark.parametrize("radius", [5.0, 50.0])
def test_a_large_radius_is_finite(radius):
    model = perceptron(6, 8, 7, 3, activation=nn.Tanh)
    search, _ = search_of(model, closure(model, 5))
    there = search.ascend(1.0 - exp(-radius), 5)
    assert all(m.isfinite().all() for m in there.matrices.values())
    assert there.value >= there.before


def bounds_hold(search, chain, there):
    for i, matrix in there.matrices.items():
        old, site = chain.stages[i].layer.matrix, search.recursion.sites[i]
        assert (matrix - old).norm() <= (0.9**-site.sides - 1) * old.norm()


def ill_conditioned(seed, k=20):
    """A layer of 12 units, after training as a rule, in which a few directions carry most of the activations."""
    torch.manual_seed(seed)
    model = perceptron(6, 12, 12, 3, activation=nn.Tanh)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            u, s, v = torch.linalg.svd(layer.weight, full_matrices=False)
            layer.weight.copy_(u * s[0] * 0.4 ** torch.arange(len(s)) @ v)
    return search_of(model, closure(model, k))


def test_damping_gains_within_the_bound_what_halving_alone_does_not(monkeypatch):
    gains, controls = [], []
    for seed in range(4):
        search, chain = ill_conditioned(seed)
        there = search.ascend(0.1, 10)
        assert_close(there.loss, chain.loss, rtol=1e-9, atol=0)
        bounds_hold(search, chain, there)
        gains.append(there.value / there.before - 1)
        with monkeypatch.context() as patch:
            patch.setattr(type(search), "_damp", lambda *_: (False, 1.0))
            undamped = search.ascend(0.1, 10)
        assert not any(site.damping for site in search.recursion.sites)
        controls.append(undamped.value / undamped.before - 1)
    assert min(gains) > 0.01 and median(gains) > 3 * median(controls)


def test_where_fits_stay_in_bounds_nothing_is_damped():
    search, _ = search_of(*(lambda m: (m, closure(m, 5)))(perceptron(6, 10, 8, 3, activation=nn.Tanh)))
    assert search.ascend(0.03, 10).value > 0
    assert all(site.damping == 0.0 for site in search.recursion.sites)


@pytest.mark.parametrize("keep", ["outputs", "loss"])
def test_few_samples_keep_their_outputs_if_asked_to(keep):
    model = perceptron(6, 12, 12, 3, activation=nn.Tanh)
    with torch.no_grad():
        u, s, v = torch.linalg.svd(model[0].weight, full_matrices=False)
        model[0].weight.copy_(u * s[0] * 0.4 ** torch.arange(len(s)) @ v)
    x, y = torch.randn(12, 6).double(), torch.randint(3, (12,))
    search, chain = search_of(model, lambda: cross_entropy(model(x), y), keep=keep)
    before = model(x)
    there = search.ascend(0.1, 10)
    bounds_hold(search, chain, there)
    assert_close(there.loss, chain.loss, rtol=1.5e-8, atol=0)
    for i, matrix in there.matrices.items():
        chain.stages[i].layer.write_(matrix)
    change = ((model(x) - before).norm() / before.norm()).item()
    if keep == "outputs":
        assert change < 1e-7 and there.value >= there.before  # fits with a condition number of up to 1e6
    else:
        assert 1e-5 < change and there.value > 1.01 * there.before


@pytest.mark.parametrize("k", [11, 15, 20, 60])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_dead_units_do_not_stop_the_search(k, dtype):
    """Fewer live units than samples, in one layer or both: no fit is exact."""
    model = perceptron(6, 16, 12, 3, activation=nn.ReLU)
    with torch.no_grad():
        model[0].bias[:10] = -6.0
    x, y = torch.randn(k, 6).to(dtype), torch.randint(3, (k,))
    model = model.to(dtype)
    search, chain = search_of(model, lambda: cross_entropy(model(x), y))
    there = search.ascend(0.1, 10)
    assert there.value > 1.02 * there.before
    assert_close(there.loss, chain.loss, rtol=max(1e-9, 16 * torch.finfo(dtype).eps), atol=0)
    bounds_hold(search, chain, there)


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("agree", [True, False], ids=["same class", "other classes"])
def test_repeated_samples_do_not_stop_the_search(times, agree):
    model = perceptron(6, 8, 7, 3)
    x, y = torch.randn(4, 6).double().repeat(times, 1), torch.randint(3, (4,)).repeat(times)
    y = y if agree else torch.randint(3, y.shape)
    search, chain = search_of(model, lambda: cross_entropy(model(x), y))
    there = search.ascend(0.1, 10)
    assert there.value > 1.01 * there.before
    assert_close(there.loss, chain.loss, rtol=1e-9, atol=0)
    bounds_hold(search, chain, there)


@pytest.mark.parametrize(
    "make",
    [
        lambda: perceptron(6, 8, 7, 3, activation=nn.Tanh),
        lambda: perceptron(6, 8, 7, 3),
        lambda: convolutional(nn.Tanh, nn.MaxPool2d),
        lambda: convolutional(nn.SiLU, nn.AvgPool2d),
    ],
    ids=["tanh", "leaky", "maximum", "mean"],
)
@pytest.mark.parametrize("k", [4, 30])
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_a_model_of_functions_has_the_slopes_of_one_of_modules(make, k, damping):
    model = make()
    x, y = batch(model, k)
    code = written(model)
    search, chain = search_of(model, lambda: cross_entropy(model(x), y))
    other, computed = search_of(code, lambda: cross_entropy(code(x), y))
    assert all(isinstance(s.link, Measured) for s in computed.stages[:-1])
    dampings = dict.fromkeys(range(1, len(chain.stages)), damping)
    thetas = somewhere(search)
    for one in (search, other):
        one.recursion.damp(dampings)
    expected, found = search.slopes(thetas), other.slopes(thetas)
    # The same operations but for the activations: rounding, times the condition of the fits, up to 1e6.
    close = partial(assert_close, rtol=1e-9, atol=1e-9 * max(s.abs().max().item() for s in expected.slopes))
    close(found.slopes, expected.slopes)
    close([found.value, found.loss], [expected.value, expected.loss])
    assert (found.tilts is None) == (expected.tilts is None)
    if found.tilts is not None:
        close(found.tilts, expected.tilts)


@pytest.mark.parametrize("make", [lambda: perceptron(6, 8, 7, 3), convolutional], ids=["vectors", "images"])
@pytest.mark.parametrize("k", [4, 30])
def test_a_model_of_functions_moves_to_where_one_of_modules_does(make, k):
    model = make()
    x, y = batch(model, k)
    code = written(model)
    there, other = (
        search_of(one, lambda one=one: cross_entropy(one(x), y))[0].ascend(0.1, 4) for one in (model, code)
    )
    assert there.value > there.before
    assert_close([*other.matrices.values()], [*there.matrices.values()], rtol=1e-6, atol=1e-8)
    loss = cross_entropy(code(x), y)
    for layer, matrix in zip(code.layers, other.matrices.values(), strict=True):
        Layer("", layer).write_(matrix)
    assert_close(cross_entropy(code(x), y), loss, rtol=1e-9, atol=0)
    assert_close(gradient_norm(code, lambda: cross_entropy(code(x), y)), other.value)
