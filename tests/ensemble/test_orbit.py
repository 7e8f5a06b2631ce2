"""Members from group elements: what each kind keeps, against the formulas written out."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ensemble.nets import Tied, perceptron
from isoloss import find
from isoloss.dependent import Difference, Frame, Rotation, Two
from isoloss.ensemble import (
    RECIPES,
    Acted,
    Acting,
    Exact,
    InterpolatedPermutation,
    Inverse,
    OnBatch,
    Random,
    Shuffle,
    WithinActivation,
    orbit_ensemble,
)
from isoloss.groups import Permutation, PositiveScaling

EPS = torch.finfo(torch.float64).eps
# g has singular values near 1, so that a network of a few layers sees some hundred roundings.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def exactly(a, b):
    assert_close(a, b, rtol=0, atol=0)


def convolutional():
    """The net of section 2.9, smaller: convolution, max pooling, two linear layers."""
    return (
        nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(27, 8),
            nn.LeakyReLU(),
            nn.Linear(8, 3),
        )
        .double()
        .eval()
    )


# ---------------------------------------------------------------- exact


def radial():
    class Radial(nn.Module):
        def forward(self, z):
            return z * z.norm(dim=-1, keepdim=True).tanh()

    return nn.Sequential(nn.Linear(3, 5), Radial(), nn.Linear(5, 2)).double()


NETS = {
    "scaling": partial(perceptron, 3, 6, 5, 2),
    "linear": partial(perceptron, 3, 6, 2, activation=nn.Identity),
    "signs and permutations": partial(perceptron, 3, 6, 2, activation=nn.Tanh),
    "rotation": radial,
    "batchnorm": lambda: (
        nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).double().eval()
    ),
    "translation": lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1)).double(),
}


@pytest.mark.parametrize("form", ["linear", "exp"])
@pytest.mark.parametrize("net", NETS)
def test_members_of_an_exact_orbit_compute_the_same_function(net, form):
    model = NETS[net]()
    symmetries = find(model, torch.randn(4, 3).double())
    before = copy.deepcopy(model.state_dict())
    ensemble = orbit_ensemble(model, symmetries, 4, 0.1, form=form, generator=seeded())
    x = torch.randn(20, 3).double()
    outputs = ensemble.outputs(x)
    assert_close(outputs, model(x).expand_as(outputs), **CLOSE)
    assert_close(ensemble(x), model(x), **CLOSE)
    exactly(ensemble.predict(x), model(x).argmax(-1))
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in [model, *ensemble]]
    distances = torch.cdist(torch.stack(weights), torch.stack(weights))
    assert (distances + torch.eye(5)).min() > 1e-2
    assert ensemble.agree and "agree on every input" in repr(ensemble)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_statistics_of_norms_move_along():
    model = NETS["batchnorm"]()
    ensemble = orbit_ensemble(model, find(model, torch.randn(4, 3).double()), 2, 0.3)
    assert ensemble.net[1].running_mean.shape == (2, 6)


def test_tied_weights_tokens_and_named_inputs():
    model, inputs = Tied().double().eval(), {"tokens": torch.randint(7, (4, 5))}
    ensemble = orbit_ensemble(model, find(model, inputs), 3, 0.3)
    assert_close(ensemble(**inputs), model(**inputs), **CLOSE)
    assert ensemble.net.head.weight is ensemble.net.table.weight


def test_symmetries_up_to_the_eps_of_a_norm_stay_unless_asked_for():
    norm = nn.LayerNorm(5, elementwise_affine=False)
    model, x = nn.Sequential(nn.Linear(3, 5), norm, nn.Linear(5, 2)).double(), torch.randn(9, 3).double()
    symmetries = find(model, x)
    assert not all(s.exact for s in symmetries)
    ensemble = orbit_ensemble(model, symmetries, 3, 0.5, form="exp")
    assert ensemble.agree
    assert_close(ensemble(x), model(x), **CLOSE)
    both = orbit_ensemble(model, Exact(symmetries, approximate=True), 3, 0.5, form="exp")
    apart = (both(x) - model(x)).abs().max()
    assert not both.agree and 1e-9 < apart < 1e-2  # of the order of eps over the variance
    inexact = symmetries.where(lambda s: not s.exact)
    with pytest.raises(ValueError, match="approximate=True"):
        orbit_ensemble(model, inexact, 3)


def test_attacking_an_exact_orbit_is_attacking_the_model():
    model, x = perceptron(3, 6, 2), torch.randn(5, 3).double()
    ensemble = orbit_ensemble(model, find(model, x), 4, 0.3)
    gradients = []
    for f in (model, ensemble):
        z = x.clone().requires_grad_()
        f(z)[:, 0].sum().backward()
        gradients.append(z.grad)
    assert_close(gradients[1], gradients[0], **CLOSE)


def test_size_zero_is_the_model():
    model, x = perceptron(3, 6, 2), torch.randn(9, 3).double()
    for action in (
        find(model, x).only(PositiveScaling),
        OnBatch(x),
        OnBatch(x[:2]),
        OnBatch(x[:2], Inverse()),
    ):
        for form in ("linear", "exp"):
            for member in orbit_ensemble(model, action, 2, 0.0, form=form):
                for a, b in zip(member.parameters(), model.parameters(), strict=True):
                    assert_close(a, b, rtol=4 * EPS, atol=4 * EPS)


@pytest.mark.parametrize("net", ["scaling", "linear", "rotation"])
def test_the_two_forms_differ_in_second_order(net):
    """|1 + eps a - exp(eps a)| = eps^2 |a^2| / 2 + ...: halving eps divides the difference by four (Cayley: eight)."""
    model = NETS[net]()
    symmetries = find(model, torch.randn(4, 3).double())
    smooth = symmetries.where(lambda s: s.group.dim > 0)

    def difference(epsilon):
        members = [
            orbit_ensemble(model, smooth, 1, epsilon, form=form, generator=seeded())[0]
            for form in ("linear", "exp")
        ]
        a, b = (torch.cat([p.flatten() for p in m.parameters()]) for m in members)
        return (a - b).norm().item()

    order = 8 if net == "rotation" else 4
    assert difference(2e-3) / difference(1e-3) == pytest.approx(order, rel=0.05)
    assert difference(1e-3) > 0


def test_a_scaling_cannot_turn_negative():
    model, x = perceptron(3, 40, 2), torch.randn(4, 3).double()
    scalings = find(model, x).only(PositiveScaling)
    with pytest.raises(ValueError, match=r"1 \+ epsilon M must lie in R\+\^40.*form='exp'"):
        orbit_ensemble(model, scalings, 10, 2.0)
    ensemble = orbit_ensemble(model, scalings, 10, 2.0, form="exp")
    # factors of e^(+-6) at most, and their inverses: 1e5 eps
    assert_close(ensemble(x), model(x), rtol=1e-8, atol=1e-8)


def test_discrete_groups_are_drawn_uniformly():
    model, x = perceptron(3, 3, 2), torch.randn(4, 3).double()
    ensemble = orbit_ensemble(model, find(model, x).only(Permutation), 200, 0.01, generator=seeded())
    orders = {tuple(p.tolist()) for p in ensemble.net[0].bias}
    assert len(orders) == 6


# ---------------------------------------------------------------- data-dependent


@pytest.mark.parametrize("action", [Difference(), Two(), Frame()])
@pytest.mark.parametrize("samples", [1, 5, 12])
def test_members_agree_on_the_batch_and_differ_elsewhere(action, samples):
    model, x = perceptron(6, 12, 12, 3), torch.randn(samples, 6).double()
    ensemble = orbit_ensemble(model, OnBatch(x, action), 5, 0.05, generator=seeded())
    outputs = ensemble.outputs(x)
    # pseudo-inverses of activations whose condition is below 1e5
    assert_close(outputs, model(x).expand_as(outputs), rtol=1e-9, atol=1e-9)
    z = torch.randn(50, 6).double()
    apart = (ensemble.outputs(z) - model(z)).abs().amax((1, 2))
    assert apart.min() > 1e-3 and not ensemble.agree
    assert "agree on every" not in repr(ensemble)


@pytest.mark.parametrize("name", [n for n in RECIPES if n != "group"])
def test_no_baseline_keeps_the_batch(name):
    """The negative control."""
    model, x = perceptron(6, 12, 3), torch.randn(5, 6).double()
    outputs = orbit_ensemble(model, OnBatch(x, RECIPES[name]()), 5, 0.1).outputs(x)
    assert (outputs - model(x)).abs().amax((1, 2)).min() > 1e-3


@pytest.mark.parametrize("samples", [5, 40])
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("make", [lambda: perceptron(6, 12, 3), convolutional])
def test_recipes_against_the_formulas_of_the_dissertation(make, name, samples):
    """Section 2.9 with samples as columns; biases of V move with V, those of U stay."""
    model, epsilon = make(), 0.1
    i = len(model) - 3
    x = torch.randn(samples, 1, 8, 8).double() if i else torch.randn(samples, 6).double()
    v, sigma, u = model[i:]
    with torch.no_grad():
        u.bias.zero_()  # the group action may move it: then the formula is about U alone
    last = find(model, x).within([f"{j}.{kind}" for j in (i, i + 2) for kind in ("weight", "bias")])
    recipe = RECIPES[name]()
    member = orbit_ensemble(model, OnBatch(x, recipe, last), 1, epsilon, generator=seeded(3))[0]

    random, h = seeded(3), v.weight.shape[0]
    eye = torch.eye(h).double()
    if name == "perm_interp":
        s = eye[torch.randperm(h, generator=random)]
        g = (eye + epsilon / 2 * (eye + s)) / (1 + epsilon)
    else:
        g = eye + epsilon * torch.randn(h, h, generator=random, dtype=torch.float64) / h**0.5
    before = v.weight @ model[:i](x).mT + v.bias[:, None]
    pi = sigma(before) @ torch.linalg.pinv(sigma(g @ before))
    if name == "group":
        # A bias is one more unit, that is always 1.
        ones = torch.ones(1, samples).double()
        s, moved = (torch.cat([sigma(z), ones]) for z in (before, g @ before))
        expected = torch.cat([u.weight, u.bias[:, None]], 1) @ s @ torch.linalg.pinv(moved)
        assert_close(member[i + 2].bias, expected[:, -1], **CLOSE)
        expected = expected[:, :-1]
    elif name == "random":
        diagonal = torch.randn(h, generator=random, dtype=torch.float64)
        expected = u.weight @ (eye + epsilon * diagonal.diag())
    elif name == "shuffle":
        expected = u.weight @ pi.flatten()[torch.randperm(h * h, generator=random)].view(h, h)
    else:
        expected = u.weight @ torch.linalg.inv(g)
    assert_close(member[i].weight, g @ v.weight, **CLOSE)
    assert_close(member[i].bias, g @ v.bias, **CLOSE)
    assert_close(member[i + 2].weight, expected, rtol=1e-9, atol=1e-9)
    for j in range(i):
        for a, b in zip(member[j].parameters(), model[j].parameters(), strict=True):
            exactly(a, b)


def test_the_shuffled_baseline_does_not_become_the_model():
    """At epsilon = 0 the others are the model; pi is the identity then, and shuffled it is none."""
    model, x = perceptron(6, 5, 3), torch.randn(40, 6).double()
    far = {
        name: (orbit_ensemble(model, OnBatch(x, recipe()), 1, 0.0)(x) - model(x)).abs().max().item()
        for name, recipe in RECIPES.items()
    }
    assert far.pop("shuffle") > 1e-2
    assert max(far.values()) < 1e-10


def test_units_that_a_flattened_convolution_gives_are_read_tap_by_tap():
    """A linear layer behind a flattened convolution reads a channel at several positions; g mixes channels."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Identity(), nn.Flatten(), nn.Linear(4 * 9, 3)).double()
    x = torch.randn(6, 1, 5, 5).double()
    ensemble = orbit_ensemble(model, OnBatch(x, Inverse()), 3, 0.2)
    assert_close(ensemble(x), model(x), **CLOSE)  # linear, so that g^-1 undoes g


def test_all_pairs_move_at_once_and_the_choice_is_the_callers():
    model, x = perceptron(6, 12, 12, 3), torch.randn(5, 6).double()
    names = [n for n, _ in model.named_parameters()]
    assert set(orbit_ensemble(model, OnBatch(x), 2)._own) == set(names)
    last = find(model, x).within(names[2:])
    assert set(orbit_ensemble(model, OnBatch(x, symmetries=last), 2)._own) == set(names[2:])


@pytest.mark.parametrize("source", ["exact", "batch", "activation"])
def test_the_same_seed_gives_the_same_members(source):
    model, x = perceptron(6, 12, 3), torch.randn(5, 6).double()
    action = {"exact": find(model, x), "batch": OnBatch(x, Random()), "activation": WithinActivation("1", 12)}
    z = torch.randn(30, 6).double()

    def outputs(seed):
        ensemble = orbit_ensemble(model, action[source], 3, 0.2, generator=seeded(seed))
        return torch.cat([t.flatten().double() for t in ensemble.state_dict().values()]), ensemble.outputs(z)

    state = torch.get_rng_state()
    first, again, other = outputs(0), outputs(0), outputs(1)
    exactly(torch.get_rng_state(), state)
    exactly(again[0], first[0])
    exactly(again[1], first[1])
    assert not torch.equal(other[0], first[0])


def test_the_model_and_its_random_numbers_are_left_alone():
    model = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 2)).double().train()
    before, x = copy.deepcopy(model.state_dict()), torch.randn(4, 3).double()
    state = torch.get_rng_state()
    orbit_ensemble(model, OnBatch(x), 3, 0.1, generator=seeded())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    exactly(torch.get_rng_state(), state)
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_dtypes(dtype):
    model, x = perceptron(6, 12, 3).to(dtype), torch.randn(5, 6).to(dtype)
    ensemble = orbit_ensemble(model, OnBatch(x), 3, 0.05)
    assert all(p.dtype == dtype for p in ensemble.parameters())
    # weights are rounded once, and the activations behind them amplify that by their condition, below 100 here
    assert_close(ensemble.outputs(x)[0], model(x), rtol=0, atol=100 * torch.finfo(dtype).eps)


# ---------------------------------------------------------------- eq. 2.55


def test_the_activation_of_equation_2_55_is_its_formula():
    g, h = torch.eye(6).double() + 0.3 * torch.randn(6, 6).double(), torch.randn(20, 6).double()
    sigma = nn.LeakyReLU()
    columns = h.mT
    pi = sigma(columns) @ torch.linalg.pinv(sigma(g @ columns))
    assert_close(Acting(sigma, g)(h), (pi @ sigma(g @ columns)).mT, **CLOSE)


def test_it_changes_nothing_up_to_as_many_samples_as_units():
    """sigma(H) times a projector of rank k: the published implementation is the model for small batches."""
    model, x = perceptron(6, 12, 12, 3), torch.randn(40, 6).double()
    ensemble = orbit_ensemble(model, WithinActivation("3", 12), 4, 0.1)
    for k in (1, 5, 12):
        outputs = ensemble.outputs(x[:k])
        assert_close(outputs, model(x[:k]).expand_as(outputs), rtol=1e-9, atol=1e-9)
    assert (ensemble.outputs(x) - model(x)).abs().amax((1, 2)).min() > 1e-3
    # what a sample gives depends on the rest of its batch
    assert (ensemble(x)[:5] - ensemble(x[:5])).abs().max() > 1e-3


def test_the_two_equations_agree_on_the_batch_they_share():
    """(2.54) with the weights moved on X is (2.55) at X, for a reading layer without a bias."""
    model = perceptron(6, 8, 3, bias=False)
    x = torch.randn(30, 6).double()
    by_weights = orbit_ensemble(model, OnBatch(x, Two()), 3, 0.1, generator=seeded())
    within = orbit_ensemble(model, WithinActivation("1", 8), 3, 0.1, generator=seeded())
    assert_close(within.outputs(x), by_weights.outputs(x), **CLOSE)


def test_weights_are_shared_within_activations():
    model = perceptron(6, 12, 3)
    ensemble = orbit_ensemble(model, WithinActivation("1", 12), 4)
    assert ensemble._own == ("1.g",)
    assert [p.shape for p in ensemble.parameters()] == [p.shape for p in model.parameters()]


# ---------------------------------------------------------------- refusals


def calls():
    model, x = perceptron(3, 6, 2), torch.randn(4, 3).double()
    symmetries = find(model, x)
    return {
        "n": (partial(orbit_ensemble, model, symmetries, 0), ValueError, "n must be a positive integer"),
        "epsilon": (partial(orbit_ensemble, model, symmetries, 2, -1.0), ValueError, "epsilon must be"),
        "nan": (partial(orbit_ensemble, model, symmetries, 2, float("nan")), ValueError, "epsilon must be"),
        "form": (partial(orbit_ensemble, model, symmetries, 2, form="log"), ValueError, "form must be"),
        "no data": (partial(orbit_ensemble, model, Difference(), 2), TypeError, "needs its data: OnBatch"),
        "nothing": (
            partial(orbit_ensemble, model, symmetries[:0], 2),
            ValueError,
            "at least one exact symmetry",
        ),
        "other model": (partial(orbit_ensemble, perceptron(3, 7, 2), symmetries, 2), ValueError, "shape"),
        "no pair": (
            partial(orbit_ensemble, nn.Linear(3, 2).double(), OnBatch(x), 2),
            ValueError,
            "two adjacent linear",
        ),
        "rotation of a batch": (
            partial(orbit_ensemble, model, OnBatch(x, Rotation()), 2),
            ValueError,
            "for one sample",
        ),
        "name": (
            partial(orbit_ensemble, model, WithinActivation("9", 6), 2),
            ValueError,
            "activation inside",
        ),
        "width": (partial(orbit_ensemble, model, WithinActivation("1", 0), 2), ValueError, "width must be"),
        "other width": (
            lambda: orbit_ensemble(model, WithinActivation("1", 5), 2)(x),
            ValueError,
            "last axis",
        ),
    }


@pytest.mark.parametrize("case", calls())
def test_refusals_say_what_to_do(case):
    call, error, message = calls()[case]
    with pytest.raises(error, match=message):
        call()


def test_what_is_not_finite_is_refused():
    model, x = perceptron(3, 6, 2), torch.randn(4, 3).double()
    symmetries = find(model, x)
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite values; got inf or nan in 0.weight"):
        orbit_ensemble(model, symmetries, 2)


def test_sources_and_recipes_are_what_they_say():
    assert RECIPES == {
        "group": Acted,
        "inverse": Inverse,
        "random": Random,
        "shuffle": Shuffle,
        "perm_interp": InterpolatedPermutation,
    }
    assert all(r.name == name for name, r in RECIPES.items())
    model, x = perceptron(3, 6, 2), torch.randn(4, 3).double()
    exact = Exact(find(model, x))
    a = orbit_ensemble(model, exact, 2, generator=seeded())
    b = orbit_ensemble(model, exact.symmetries, 2, generator=seeded())
    exactly(a.outputs(x), b.outputs(x))


def test_members_of_a_frozen_model_move_and_it_stays_frozen():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double().requires_grad_(False)
    x = torch.randn(4, 3, dtype=torch.float64)
    before = {n: p.clone() for n, p in model.named_parameters()}
    ensemble = orbit_ensemble(model, OnBatch(x), n=3, epsilon=0.1)
    assert not torch.equal(ensemble[0].get_parameter("0.weight"), ensemble[1].get_parameter("0.weight"))
    torch.testing.assert_close(ensemble[1](x), model(x), rtol=1e-10, atol=1e-12)
    assert all(torch.equal(p, before[n]) and not p.requires_grad for n, p in model.named_parameters())
