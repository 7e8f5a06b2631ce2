"""Learning: what is recovered, to the same bits; what is not found, and why; what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from discovery.losses import RELU, SCALAR, TANH, rescalings
from discovery.symmetries import SIGMOID, Compensate
from isoloss.discovery import DivergenceError, Recipe, discover, normal

SHORT = Recipe(steps=30, batch=16, validate=10, validation=32)
FAST = Recipe(steps=150, generator_lr=0.05)
SMALL = {"width": 8}


def cosine(a, b):
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0).abs())


def same(one, two):
    """To the last bit."""
    a, b = one.action.state_dict(), two.action.state_dict()
    equal = a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    return equal and torch.equal(one.generators, two.generators) and one.grade == two.grade


def spanned(learned, true):
    """The least cosine of a true direction with the span of the learned ones: 1 if it contains them."""
    q = torch.linalg.qr(learned.flatten(1).mT).Q
    rows = true.flatten(1) / true.flatten(1).norm(dim=1, keepdim=True)
    return float((rows @ q).norm(dim=1).min())


def test_the_rescaling_of_figure_6_3_is_recovered():
    found = discover(*SCALAR, action="linear", recipe=FAST)
    assert cosine(found.generators[0], torch.diag(torch.tensor([1.0, -1.0]).double())) >= 0.99
    assert found.found and found.error < 0.05 and not found.reason


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_that_are_off_do_not_matter(mode):
    with mode():
        off = discover(*SCALAR, action="linear", recipe=SHORT)
    assert same(off, discover(*SCALAR, action="linear", recipe=SHORT))


def test_a_small_loss_is_not_an_invariant_one():
    small = lambda w, x: 1e-9 * TANH[0](w, x)  # noqa: E731
    for loss in (TANH[0], small):
        found = discover(loss, *TANH[1:], action="linear", recipe=SHORT)
        assert not found.found and found.error > 0.2


def test_recipes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="recipe must be a Recipe; got dict"):
        discover(*SCALAR, recipe={"steps": 10})  # pyright: ignore[reportArgumentType]


def test_its_directions_are_recovered_whatever_the_action():
    """Where a perceptron takes part the matrix alone need not be that of the rescaling (section 6.5.3): v is."""
    found = discover(*SCALAR, action="residual", recipe=FAST)
    assert found.found
    params, data = SCALAR[1](200), SCALAR[2](200)
    v = found.directions(params, data)[:, 0]
    true = torch.stack([params["a"], -params["b"]], 1).double()
    assert float(F.cosine_similarity(v, true, dim=1).abs().median()) >= 0.99


def test_rescalings_of_relu_neurons_are_recovered():
    found = discover(*RELU, n_generators=2, action="linear", recipe=FAST)
    assert found.found and found.grade.independent == 2, found.reason
    assert spanned(found.generators, rescalings()) >= 0.99
    assert not found.grade.data_dependent and found.grade.bracket < 0.1


def test_the_same_seed_learns_the_same_bits_and_another_others():
    one, again = (discover(*TANH, n_generators=2, recipe=SHORT, options=SMALL) for _ in range(2))
    assert same(one, again) and one.history == again.history
    other = discover(*TANH, n_generators=2, recipe=Recipe(**vars(SHORT) | {"seed": 1}), options=SMALL)
    assert not same(one, other)


def test_the_generator_of_random_numbers_is_left_alone():
    before = torch.random.get_rng_state()
    discover(*SCALAR, action="linear", recipe=SHORT)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_large_rate_diverges_and_leaves_the_last_checkpoint(tmp_path):
    """Adam moves every number by its rate: squares overflow float32 beyond 2e19."""
    recipe = Recipe(
        steps=50, batch=8, validate=1, validation=8, generator_lr=1e18, clip=math.inf, decay=False
    )
    recipe = Recipe(**vars(recipe) | {"beta": 1e30, "weights": {"norm": 1.0}})
    seen = []
    given = {"action": "linear", "recipe": recipe, "out": tmp_path}
    with pytest.raises(
        DivergenceError, match="the objective must stay finite; got inf.* lower lr, or clip"
    ) as first:
        discover(*SCALAR, **given, watch=seen.append)
    assert 1 <= len(seen) < 50
    # It continues from where values were finite, and comes to the same end.
    with pytest.raises(DivergenceError) as again:
        discover(*SCALAR, **given, watch=seen.append)
    assert str(again.value) == str(first.value)
    assert len({record.step for record in seen}) == len(seen)


def test_patience_stops():
    """At the first measurement that is not better than the best, or as many as patience says."""
    weights = {"orthogonality": 1.0}  # at its least, -1, soon; then rounding goes up and down
    recipe = Recipe(steps=3000, batch=2, validate=20, validation=2, weights=weights, patience=3)
    found = discover(*SCALAR, n_generators=2, action="linear", recipe=recipe)
    values = [record.objective for record in found.history]
    assert len(values) < 150 and min(values) == values[-4] and min(values[:-4], default=0) > values[-4]


def test_weights_of_nothing_that_is_learned_are_refused():
    recipe = Recipe(**vars(SHORT) | {"weights": {"identity": 1.0}})
    with pytest.raises(
        ValueError, match="weights must be of terms that depend on what is learned; got .* for Linear"
    ):
        discover(*SCALAR, action="linear", recipe=recipe)


def test_enough_stops():
    recipe = Recipe(steps=5000, validate=50, enough=0.5)
    found = discover(*SCALAR, action="linear", recipe=recipe)
    assert found.history[-1].step < 1000 and found.history[-1].invariance < 0.5
    assert all(record.invariance >= 0.5 for record in found.history[:-1])


def test_a_bar_is_shown(capsys):
    pytest.importorskip("tqdm")
    discover(*SCALAR, action="linear", recipe=SHORT, progress=True)
    assert "30/30" in capsys.readouterr().err


# No collapse goes unnoticed


def test_an_action_that_vanishes_is_not_found():
    """Sparsity alone: generators shrink to nothing, which every loss is invariant to."""
    recipe = Recipe(
        steps=150,
        batch=8,
        validate=10,
        generator_lr=0.02,
        weights={"invariance": 1.0, "sparsity": 1.0},
    )
    found = discover(*SCALAR, action="linear", recipe=recipe)
    assert not found.found and "the action is trivial" in found.reason
    first, last = (found.history[i].terms["invariance"] for i in (0, -1))
    assert last < 0.2 * first and found.error > 0.1  # by the published measure it is on its way to be one


def test_an_identity_that_moves_is_not_found():
    recipe = Recipe(**vars(SHORT) | {"weights": {"norm": 1.0}})
    found = discover(*SCALAR, action="mlp", recipe=recipe, options=SMALL)
    assert not found.found and "the identity moves the parameters" in found.reason


def test_generators_that_become_one_are_not_found():
    """The published objective alone drives two generators towards h_2 = -h_1."""
    weights = {"invariance": 10.0, "norm": 1.0, "orthogonality": 1.0}
    recipe = Recipe(steps=150, generator_lr=0.05, weights=weights)
    found = discover(*SCALAR, n_generators=2, action="linear", recipe=recipe)
    assert not found.found and "they move the parameters in 1 ways, not 2" in found.reason
    h = found.generators.flatten(1)
    assert float(F.cosine_similarity(h[0], h[1], dim=0)) < -0.99


def test_more_generators_than_symmetries_are_not_found():
    found = discover(*SCALAR, n_generators=2, action="linear", recipe=FAST)
    assert not found.found and found.error > 0.1


def test_a_tanh_network_has_no_linear_symmetry():
    found = discover(*TANH, action="linear", recipe=FAST)
    assert (
        not found.found and "the loss is not invariant: along the directions of the generator" in found.reason
    )
    assert str(found).startswith("not found: ") and not found.grade.data_dependent


# What users bring


def test_an_action_of_ones_own():
    """Of another group than GL(p), with nothing to learn but the size of its generator; it is copied."""

    class Own(Compensate):
        def __init__(self, params, data):
            super().__init__(params, data)
            self.power = nn.Parameter(torch.zeros(()))

        def forward(self, g, theta, x):
            return super().forward(g ** self.power.exp(), theta, x)

    action = Own(2, 2)
    found = discover(*SIGMOID, action=action, recipe=SHORT)
    assert found.found and found.error < 1e-6 and found.grade.data_dependent
    assert (
        float(action.power.detach()) == 0.0
        and action.power.requires_grad
        and float(found.action.power.detach()) != 0.0
    )


def test_a_module_with_class_labels():
    net = nn.Linear(2, 3)

    def loss(w, data):
        return F.cross_entropy(functional_call(net, w, (data["x"],)), data["label"])

    def data(n):
        return {"x": torch.randn(n, 2), "label": torch.randint(3, (n,))}

    found = discover(loss, normal(weight=(3, 2), bias=(3,)), data, action="affine", recipe=FAST)
    assert found.found, found.reason  # softmax does not see what is added to all logits
    assert found.params.names == ("weight", "bias") and found.data.names == ("x", "label")


def test_parameters_and_data_may_be_bare_tensors_and_there_may_be_no_data():
    found = discover(
        lambda w, x: w.square().sum(), lambda n: torch.randn(n, 2), lambda n: torch.empty(n, 0),
        action="linear", recipe=FAST,
    )  # fmt: skip
    assert found.found and cosine(found.generators, torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()) > 0.99


@pytest.mark.parametrize("count", [0, 3, 1.5, True, None])
def test_generators_out_of_range_are_refused(count):
    with pytest.raises(
        ValueError, match="n_generators must be a whole number from 1 to the number of parameters, 2"
    ):
        discover(*SCALAR, n_generators=count, recipe=SHORT)


def test_samplers_are_checked():
    with pytest.raises(ValueError, match="discover: sample_params must be a function"):
        discover(SCALAR[0], {"a": 1}, SCALAR[2], recipe=SHORT)
    sizes = iter(range(2, 100))
    with pytest.raises(ValueError, match="discover: sample_data: samples must have the same shapes"):
        discover(SCALAR[0], SCALAR[1], lambda n: torch.randn(n, next(sizes)), recipe=SHORT)


def test_counts_of_numpy_are_counts(tmp_path):
    found = discover(*SCALAR, n_generators=np.int64(1), action="linear", recipe=SHORT, out=tmp_path)
    assert len(found.generators) == 1
