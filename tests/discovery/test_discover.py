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
from isoloss.discovery._training import CHECKPOINT
from isoloss.discovery.actions import Action, Residual

SHORT = Recipe(steps=30, batch=16, validate=10, validation=32)
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
    found = discover(*SCALAR, action="linear", recipe=Recipe(steps=400))
    assert cosine(found.generators[0], torch.diag(torch.tensor([1.0, -1.0]).double())) >= 0.99
    assert found.found and found.error < 0.05 and not found.reason


def test_its_directions_are_recovered_whatever_the_action():
    """Where a perceptron takes part the matrix alone need not be that of the rescaling (section 6.5.3): v is."""
    found = discover(*SCALAR, action="residual", recipe=Recipe(steps=400))
    assert found.found
    params, data = SCALAR[1](200), SCALAR[2](200)
    v = found.directions(params, data)[:, 0]
    true = torch.stack([params["a"], -params["b"]], 1).double()
    assert float(F.cosine_similarity(v, true, dim=1).abs().median()) >= 0.99


def test_rescalings_of_relu_neurons_are_recovered():
    found = discover(*RELU, n_generators=2, action="linear", recipe=Recipe(steps=500))
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


class StopError(Exception):
    pass


def stop_at(step):
    def watch(record):
        if record.step == step:
            raise StopError

    return watch


@pytest.mark.parametrize("samples", [None, 50])
@pytest.mark.parametrize("action", ["residual", "mlp", "linear"])
def test_what_is_interrupted_continues_to_the_same_bits(action, samples, tmp_path):
    recipe = Recipe(**vars(SHORT) | {"samples": samples})
    given = {"n_generators": 2, "action": action, "recipe": recipe}
    given["options"] = None if action == "linear" else SMALL
    whole = discover(*TANH, **given)
    with pytest.raises(StopError):
        discover(*TANH, **given, out=tmp_path, watch=stop_at(20))
    again = discover(*TANH, **given, out=tmp_path)
    assert same(whole, again) and whole.history == again.history
    # and what has ended is read
    watched = []
    assert same(whole, discover(*TANH, **given, out=tmp_path, watch=watched.append)) and not watched
    afresh = []
    assert same(whole, discover(*TANH, **given, out=tmp_path, resume=False, watch=afresh.append))
    assert [record.step for record in afresh] == [10, 20, 30]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"recipe": Recipe(**vars(SHORT) | {"lr": 0.1})}, "differs in recipe"),
        ({"n_generators": 1}, "differs in generators"),
        ({"action": "affine"}, "differs in action"),
        ({"sample_data": normal(x=(2, 5), y=(1, 5))}, "differs in data"),
        ({"sample_params": lambda n: {k: t.double() for k, t in TANH[1](n).items()}}, "differs in dtype"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(changes, told, tmp_path):
    given = dict(zip(("loss", "sample_params", "sample_data"), TANH, strict=True))
    given |= {"n_generators": 2, "action": "linear", "recipe": SHORT, "out": tmp_path}
    discover(**given)
    with pytest.raises(
        ValueError, match=f"discover: a checkpoint continues the training that wrote it.*{told};"
    ):
        discover(**given | changes)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    given = {"action": "linear", "recipe": SHORT, "out": tmp_path}
    discover(*SCALAR, **given)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-9], "empty": b"", "text": b"no checkpoint"}[damage])
    with pytest.raises(
        ValueError, match="discover: the checkpoint must be one that training wrote; got .*delete it"
    ):
        discover(*SCALAR, **given)


def test_a_checkpoint_without_its_tensors_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    given = {"action": "linear", "recipe": SHORT, "out": tmp_path}
    discover(*SCALAR, **given)
    path = tmp_path / CHECKPOINT
    with safe_open(str(path), framework="pt") as file:
        told = file.metadata()
    for tensors in (
        {"x": torch.ones(1)},
        {"best/h.entries": torch.ones(3), "learned/h.entries": torch.ones(3)},
    ):
        save_file(tensors, path, metadata=told)
        with pytest.raises(ValueError, match="discover: the checkpoint must be one that training wrote"):
            discover(*SCALAR, **given)


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
    recipe = Recipe(steps=300, batch=8, validate=300, weights={"invariance": 1.0, "sparsity": 1.0})
    found = discover(*SCALAR, action="linear", recipe=recipe)
    assert not found.found and "the action is trivial" in found.reason
    assert found.history[-1].terms["invariance"] < 0.05  # by the published measure it were one


def test_an_identity_that_moves_is_not_found():
    recipe = Recipe(**vars(SHORT) | {"weights": {"norm": 1.0}})
    found = discover(*SCALAR, action="mlp", recipe=recipe, options=SMALL)
    assert not found.found and "the identity moves the parameters" in found.reason


def test_generators_that_become_one_are_not_found():
    """The published objective alone drives two generators towards h_2 = -h_1."""
    weights = {"invariance": 10.0, "norm": 1.0, "orthogonality": 1.0}
    recipe = Recipe(steps=400, weights=weights)
    found = discover(*SCALAR, n_generators=2, action="linear", recipe=recipe)
    assert not found.found and "they move the parameters in 1 ways, not 2" in found.reason
    h = found.generators.flatten(1)
    assert float(F.cosine_similarity(h[0], h[1], dim=0)) < -0.99


def test_more_generators_than_symmetries_are_not_found():
    found = discover(*SCALAR, n_generators=2, action="linear", recipe=Recipe(steps=400))
    assert not found.found and found.error > 0.1


def test_a_tanh_network_has_no_linear_symmetry():
    found = discover(*TANH, action="linear", recipe=Recipe(steps=400))
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

    found = discover(loss, normal(weight=(3, 2), bias=(3,)), data, action="affine", recipe=Recipe(steps=400))
    assert found.found, found.reason  # softmax does not see what is added to all logits
    assert found.params.names == ("weight", "bias") and found.data.names == ("x", "label")


def test_parameters_and_data_may_be_bare_tensors_and_there_may_be_no_data():
    found = discover(
        lambda w, x: w.square().sum(), lambda n: torch.randn(n, 2), lambda n: torch.empty(n, 0),
        action="linear", recipe=Recipe(steps=300),
    )  # fmt: skip
    assert found.found and cosine(found.generators, torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()) > 0.99


# What is refused


@pytest.mark.parametrize(
    "loss, error, told",
    [
        (lambda w, x: w["a"] * torch.ones(2, 2), ValueError, "the loss of one sample must be a number, or one for"),
        (lambda w, x: w["a"].detach().item(), ValueError, "must be a number, or one for each data point.* got float"),
        (lambda w, x: x["x"], ValueError, "must depend on the parameters; got a derivative of zero at all 32"),
        (lambda w, x: (w["a"].detach() * x["x"]), ValueError, "must depend on the parameters"),
        (lambda w, x: w["a"].log(), ValueError, "the loss must be finite at the samples; got nan or inf for"),
        (lambda w, x: w["a"] / 0, ValueError, "the loss must be finite"),
        (lambda w, x: (0 * w["a"]).sqrt(), ValueError, "must have a finite derivative at the samples"),
        (lambda w, x: w["c"], KeyError, "c"),
        (lambda w, x: w["a"] * F.dropout(x["x"], 0.5), NotImplementedError, "that torch can batch"),
        (
            lambda w, x: torch.cdist(w["a"].expand(2, 2), x["x"].expand(2, 2)).sum(),
            NotImplementedError, "differentiate forward .jvp. and then backward; got .*cdist",
        ),
        (lambda w, x: w["a"] if w["a"] > 0 else -w["a"], NotImplementedError, "got .*data-dependent control flow"),
    ],
)  # fmt: skip
def test_what_is_no_loss_is_refused(loss, error, told):
    with pytest.raises(error, match=told):
        discover(loss, *SCALAR[1:], action="linear", recipe=SHORT)


def test_a_wrong_derivative_is_refused():
    """An operation whose forward rule is wrong, as some of torch's have been."""

    class Wrong(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(a):
            return a * a

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

        @staticmethod
        def jvp(ctx, tangent):
            return ctx.saved_tensors[0] * tangent  # half of it

    with pytest.raises(
        NotImplementedError, match="slopes of the loss must agree with those of a backward pass"
    ):
        discover(lambda w, x: Wrong.apply(w["a"]) * x["x"], *SCALAR[1:], action="linear", recipe=SHORT)


@pytest.mark.parametrize("count", [0, 3, 1.5, True, None])
def test_generators_out_of_range_are_refused(count):
    with pytest.raises(
        ValueError, match="n_generators must be a whole number from 1 to the number of parameters, 2"
    ):
        discover(*SCALAR, n_generators=count, recipe=SHORT)


class Short(Action):
    def forward(self, g, theta, x):
        return theta[:, :1]


class Odd(Action):
    def __init__(self, params, data):
        super().__init__(params, data)
        self.size = 3

    def forward(self, g, theta, x):
        return theta * g[0, 0]

    def generators(self, count):
        from isoloss.discovery.actions import Generators

        return Generators(count, 2)


@pytest.mark.parametrize(
    "action, options, told",
    [
        ("lineal", None, "action must be one of"),
        ("linear", {"width": 3}, "options must be those of the action 'linear'"),
        (Residual, None, "action must be a name or an Action; got <class"),
        (nn.Linear(2, 2), None, "action must be a name or an Action; got Linear"),
        (Residual(3, 2), None, "the samples, 2 parameters and 2 numbers of data; got one for 3 and 2"),
        (Residual(2, 2), SMALL, "options are for actions by name; got width"),
        (Short(2, 2), None, r"Short must return moved parameters of shape \(32, 2\); got \(32, 1\)"),
        (Odd(2, 2), None, r"generators must be \(k, m, m\) with m = 3, the size of Odd; got \(1, 2, 2\)"),
    ],
)  # fmt: skip
def test_what_is_no_action_is_refused(action, options, told):
    with pytest.raises(ValueError, match=told):
        discover(*SCALAR, action=action, options=options, recipe=SHORT)


def test_a_loss_that_does_not_run_in_float64_is_refused():
    """Before training, not where it is graded."""
    net = nn.Linear(2, 1)  # its bias is not sampled: float32
    loss = lambda w, x: functional_call(net, {"weight": w}, (x,)).sum()  # noqa: E731
    given = {"action": "linear", "recipe": SHORT}
    with pytest.raises(
        ValueError, match="the loss must run in float64 too, where symmetries are graded; got"
    ):
        discover(loss, lambda n: torch.randn(n, 1, 2), lambda n: torch.randn(n, 2), **given)
    net.double()
    assert (
        discover(
            loss, lambda n: torch.randn(n, 1, 2).double(), lambda n: torch.randn(n, 2), **given
        ).params.size
        == 2
    )


def test_counts_of_numpy_are_counts(tmp_path):
    found = discover(*SCALAR, n_generators=np.int64(1), action="linear", recipe=SHORT, out=tmp_path)
    assert len(found.generators) == 1


def test_samplers_are_checked():
    with pytest.raises(ValueError, match="discover: sample_params must be a function"):
        discover(SCALAR[0], {"a": 1}, SCALAR[2], recipe=SHORT)
    sizes = iter(range(2, 100))
    with pytest.raises(ValueError, match="discover: sample_data: samples must have the same shapes"):
        discover(SCALAR[0], SCALAR[1], lambda n: torch.randn(n, next(sizes)), recipe=SHORT)


def test_a_loss_that_turns_infinite_during_training_is_told_as_such():
    """After the first checks, at new samples."""
    calls = iter(range(10**6))

    def params(n):
        wrong = next(calls) > 5
        return {"a": -torch.ones(n) if wrong else torch.rand(n) + 0.5, "b": torch.randn(n)}

    with pytest.raises(
        ValueError, match="the loss must be finite at the samples; got nan or inf for 16 of 16"
    ):
        discover(
            lambda w, x: w["a"].log() * w["b"] * x["x"], params, SCALAR[2], action="linear", recipe=SHORT
        )
