"""The law of the state: after a jump it is what the optimizer would hold had it seen the moved gradients all along."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import (
    ASGD,
    LBFGS,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)
from torch.testing import assert_close

from isoloss.groups import ComplexScaling, GeneralLinear, Orthogonal, Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Block, Slot, Symmetry
from isoloss.teleport._scalings import Scalings
from isoloss.teleport._state import (
    GRADIENT,
    HISTORY,
    KINDS,
    MAGNITUDE,
    PARAMETER,
    SQUARE,
    STEP,
    UPDATE,
    Carrier,
    resets,
    restart,
    states,
)
from isoloss.teleport._together import together
from networks import Attention, attention_symmetries, hidden, mlp, mlp_symmetries

TRANSPORT = {"momentum": "transport", "second_moments": "transport"}
# A rate of zero keeps the parameters where they are, so that only the state moves; eps of zero or nearly so is
# the one term that a change of scale does not go through.
OPTIMIZERS = {
    "SGD": (SGD, {"momentum": 0.9}),
    "SGD, nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (Adam, {"eps": 0.0}),
    "Adam, amsgrad": (Adam, {"eps": 0.0, "amsgrad": True}),
    "Adam, foreach": (Adam, {"eps": 0.0, "foreach": True}),
    "Adam, fused": (Adam, {"eps": 0.0, "fused": True}),
    "AdamW": (AdamW, {"eps": 0.0, "weight_decay": 0.0}),
    "NAdam": (NAdam, {"eps": 0.0}),
    "RAdam": (RAdam, {"eps": 0.0}),
    "Adamax": (Adamax, {"eps": 0.0}),
    "Adagrad": (Adagrad, {"eps": 0.0}),
    "RMSprop": (RMSprop, {"eps": 0.0}),
    "RMSprop, centered, momentum": (RMSprop, {"eps": 0.0, "centered": True, "momentum": 0.9}),
    "Adadelta": (Adadelta, {"eps": 1e-150}),
    "Rprop": (Rprop, {"lr": 0.01}),
    "ASGD": (ASGD, {"weight_decay": 0.0, "lambd": 0.0}),
    "Adafactor": (Adafactor, {}),
}


def element(symmetry):
    if isinstance(symmetry.group, PositiveScaling):
        return 2.0 ** torch.randint(-2, 3, symmetry.identity().shape).double()
    return symmetry.sample()


def drawn(cls, tensors):
    """Gradients; what Adafactor keeps of them is all there is to know if their squares are of rank one."""
    if cls is not Adafactor:
        return {n: torch.randn_like(t) for n, t in tensors.items()}
    size = lambda *shape: torch.linspace(0.5, 2.0, torch.Size(shape).numel()).double().view(shape)  # noqa: E731
    signs = {n: torch.randn_like(t).sign() * torch.rand(()).double() for n, t in tensors.items()}
    return {n: s * size(s.shape[0], *[1] * (s.dim() - 1)) * size(s.shape[-1]) for n, s in signs.items()}


def run(optimizer, parameters, history):
    for gradients in history:
        for name, p in parameters.items():
            p.grad = gradients[name].clone()
        optimizer.step()


def fresh(tensors):
    return {n: nn.Parameter(t.clone()) for n, t in tensors.items()}


@pytest.mark.parametrize("group", [PositiveScaling, SignFlip, Permutation], ids=lambda g: g.__name__)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_that_of_the_moved_gradients(name, group):
    cls, options = OPTIMIZERS[name]
    options = {"lr": 0.0, **options}
    model = mlp(4, 5, 6, 3).double()
    symmetries = list(hidden(model, group, "monomial"))
    elements = [element(s) for s in symmetries]
    here = {n: p.detach().clone() for n, p in model.named_parameters()}
    there, history, moved_history = dict(here), [], []
    for symmetry, g in zip(symmetries, elements, strict=True):
        there.update(symmetry.act(g, there))
    for _ in range(4):
        gradients = drawn(cls, here)
        history.append(gradients)
        moved = dict(gradients)
        for symmetry, g in zip(symmetries, elements, strict=True):
            moved.update(symmetry.transport(g, moved))
        moved_history.append(moved)
    ours, theirs = fresh(here), fresh(there)
    optimizer, reference = cls(ours.values(), **options), cls(theirs.values(), **options)
    run(optimizer, ours, history)
    run(reference, theirs, moved_history)
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in here.items()}, dtype=torch.float64)
    data = {n: p.detach() for n, p in ours.items()}
    together(symmetries, elements, scalings, data, states(optimizer, ours, TRANSPORT, {}), "here").commit()
    for n in here:
        if options["lr"] == 0.0:
            assert_close(ours[n].detach(), theirs[n].detach(), rtol=0.0, atol=0.0)
        expected = reference.state[theirs[n]]
        found = optimizer.state[ours[n]]
        assert found.keys() == expected.keys()
        for key in found:
            # Powers of two, signs and permutations round nothing, but roots of sums inside Adadelta and RMSprop do.
            assert_close(
                found[key], expected[key], rtol=1e-12, atol=1e-300, msg=partial("{} of {}: {}".format, key, n)
            )


def carried(kind, symmetry, g, tensors):
    """What a carrier makes of tensors, without those that it leaves alone."""
    x = {n: t.clone() for n, t in tensors.items()}
    Carrier(symmetry, g).move_(kind, x, tensors)
    return {n: t for n, t in x.items() if not torch.equal(t, tensors[n])}


def matrix_case(name):
    """A symmetry of matrices, an element, and the matrix that moves a flattened gradient."""
    if name == "GL":
        symmetry = Symmetry(GeneralLinear(3), (Slot("w", Block.whole((3, 2)), (0,)),))
    elif name == "GL, contragredient":
        symmetry = Symmetry(GeneralLinear(2), (Slot("w", Block.whole((3, 2)), (1,), -1),))
    elif name == "GL, two heads":
        symmetry = Symmetry(
            GeneralLinear(2), (Slot("w", Block((0, 0), (((2, 2), (2, 1)), ((2, 1),))), (0, 1)),), (2,)
        )
        return symmetry, symmetry.sample(dtype=torch.float64), (4, 2)
    elif name == "O":
        symmetry = Symmetry(Orthogonal(3), (Slot("w", Block.whole((3, 2)), (0,)),))
    else:
        block = Block((0, 0), (((2, 2), (2, 1)), ((3, 1),)))
        symmetry = Symmetry(ComplexScaling(2), (Slot("w", block, (0, 1)),))
        return symmetry, symmetry.sample(dtype=torch.float64), (4, 3)
    return symmetry, symmetry.sample(dtype=torch.float64), (3, 2)


@pytest.mark.parametrize("name", ["GL", "GL, contragredient", "GL, two heads", "O", "complex"])
def test_squares_move_by_the_squared_matrix(name):
    """Exact in expectation: E (M g)_i^2 = sum_j M_ij^2 E g_j^2 where the entries of g are not correlated."""
    symmetry, g, shape = matrix_case(name)
    numel = shape[0] * shape[1]
    basis = torch.eye(numel, dtype=torch.float64).view(numel, *shape)
    matrix = torch.stack([symmetry.transport(g, {"w": e})["w"].reshape(-1) for e in basis], dim=1)
    x = torch.rand(shape, dtype=torch.float64)
    squares = carried(SQUARE, symmetry, g, {"w": x})["w"]
    assert_close(squares.reshape(-1), matrix.square() @ x.reshape(-1))
    magnitudes = carried(MAGNITUDE, symmetry, g, {"w": x})["w"]
    assert_close(magnitudes.reshape(-1), matrix.abs() @ x.reshape(-1))
    assert (squares >= 0).all()
    assert carried(UPDATE, symmetry, g, {"w": x}) == {}
    assert carried(STEP, symmetry, g, {"w": x}) == {}


def test_squares_of_scalings_agree_with_the_symmetry():
    (symmetry,) = mlp_symmetries(mlp(4, 5, 3).double())
    tensors = {
        n: torch.rand(p).double() for n, p in {"0.weight": (5, 4), "0.bias": (5,), "2.weight": (3, 5)}.items()
    }
    g = symmetry.sample(dtype=torch.float64)
    assert_close(carried(SQUARE, symmetry, g, tensors), symmetry.transport_second(g, tensors))


def test_parameters_and_gradients_move_as_the_symmetry_says():
    symmetry = attention_symmetries(Attention())[0]
    tensors = {"inputs.weight": torch.randn(36, 12).double()}
    g = symmetry.sample(dtype=torch.float64)
    assert_close(carried(PARAMETER, symmetry, g, tensors), symmetry.act(g, tensors))
    assert_close(carried(GRADIENT, symmetry, g, tensors), symmetry.transport(g, tensors))


def trained(cls, **options):
    model = mlp(3, 4, 2)
    optimizer = cls(model.parameters(), **options)
    nn.functional.mse_loss(model(torch.randn(5, 3)), torch.randn(5, 2)).backward()
    optimizer.step()
    return dict(model.named_parameters()), optimizer


def test_policies_choose_what_moves():
    parameters, optimizer = trained(Adam)
    keys = lambda **policies: {s.key for s in states(optimizer, parameters, TRANSPORT | policies, {})}  # noqa: E731
    assert keys() == {"exp_avg", "exp_avg_sq"}
    assert keys(momentum="keep") == {"exp_avg_sq"}
    assert keys(second_moments="reset") == {"exp_avg"}
    assert keys(momentum="reset", second_moments="keep") == set()


def written(optimizer, policies, kinds=()):
    return {
        (key, tuple(t.shape)): new for key, t, new in resets(optimizer, TRANSPORT | policies, dict(kinds))
    }


def test_a_reset_of_everything_starts_the_counters_again():
    _, optimizer = trained(Adam)
    assert resets(optimizer, TRANSPORT, {}) == []
    momentum = written(optimizer, {"momentum": "reset"})
    assert {key for key, _ in momentum} == {"exp_avg"}
    both = written(optimizer, {"momentum": "reset", "second_moments": "reset"})
    assert {key for key, _ in both} == {"exp_avg", "exp_avg_sq", "step"}
    assert all((new == 0).all() for new in both.values())


@pytest.mark.parametrize(
    ("cls", "options", "key", "start"),
    [
        (Adagrad, {"initial_accumulator_value": 0.25}, "sum", 0.25),
        (Rprop, {"lr": 0.02}, "step_size", 0.02),
        (NAdam, {}, "mu_product", 1.0),
        (ASGD, {"lr": 0.03}, "eta", 0.03),
    ],
    ids=["Adagrad", "Rprop", "NAdam", "ASGD"],
)
def test_a_reset_gives_what_a_new_optimizer_has(cls, options, key, start):
    _, optimizer = trained(cls, **options)
    both = written(optimizer, {"momentum": "reset", "second_moments": "reset"})
    values = [new for (name, _), new in both.items() if name == key]
    assert values and all((new == start).all() for new in values)


def strange(**entries):
    """An optimizer whose first parameter has state that no table knows."""
    parameters, optimizer = trained(SGD, momentum=0.9)
    optimizer.state[parameters["0.weight"]].update(entries)
    return parameters, optimizer


def test_state_that_is_not_known_is_refused():
    parameters, optimizer = strange(rows=torch.ones(4, 1), square=torch.ones(4, 3))
    message = (
        r"every entry of the optimizer's state must be known.*got 'rows' of SGD \(\(4, 1\)\) at 0.weight"
    )
    with pytest.raises(ValueError, match=message + r"; say what it is, kinds=\{'rows': ...\}"):
        states(optimizer, parameters, TRANSPORT, {})
    keep = {"rows": "keep", "square": "square"}
    assert {s.key for s in states(optimizer, parameters, TRANSPORT, keep)} == {"momentum_buffer", "square"}
    start_again = {"rows": "reset", "square": "reset"}
    assert {key for key, _ in written(optimizer, {}, start_again)} == {"rows", "square"}


@pytest.mark.parametrize("value", [torch.ones(4, 1), [1.0], 2.0], ids=["another shape", "list", "number"])
def test_what_has_not_the_shape_of_the_parameter_cannot_move_with_it(value):
    parameters, optimizer = strange(rows=value)
    message = (
        r"what moves with a parameter has its shape, \(4, 3\); got 'rows' of SGD .* at 0.weight; choose keep"
    )
    with pytest.raises(ValueError, match=message):
        states(optimizer, parameters, TRANSPORT, {"rows": "square"})


def test_what_cannot_start_again_is_refused():
    parameters, optimizer = strange(seen=[torch.ones(2)])
    message = "reset starts tensors and numbers again; got 'seen' of SGD, a list; choose keep, and start it"
    with pytest.raises(ValueError, match=message):
        resets(optimizer, TRANSPORT, {"seen": "reset"})
    assert {s.key for s in states(optimizer, parameters, TRANSPORT, {"seen": "keep"})} == {"momentum_buffer"}


def test_counters_that_are_plain_numbers_start_again():
    """Many optimizers outside of torch count their steps in Python."""
    both = {"momentum": "reset", "second_moments": "reset"}
    parameters, optimizer = strange(step=7, mu_product=0.25, rate=3.0)
    entries = optimizer.state[parameters["0.weight"]]
    restart(optimizer, TRANSPORT, {})
    assert (entries["step"], entries["mu_product"], entries["rate"]) == (7, 0.25, 3.0)
    restart(optimizer, both, {"rate": "reset"})
    assert (entries["step"], entries["mu_product"], entries["rate"]) == (0, 1.0, 0.0)
    assert isinstance(entries["step"], int)
    assert {key for key, _ in written(optimizer, both)} == {"momentum_buffer"}


@pytest.mark.parametrize("name", ["scaling", "GL", "GL, contragredient", "O"])
def test_factored_squares_move_as_the_matrix_that_they_stand_for(name):
    """Whatever the gradients were: the estimate r c / mean(r) moves exactly, and r and c stay its means."""
    if name == "scaling":
        slots = (Slot("w", Block.whole((3, 2)), (0,)),)
        symmetry, shape = Symmetry(PositiveScaling(3), slots), (3, 2)
        g = symmetry.sample(dtype=torch.float64)
    else:
        symmetry, g, shape = matrix_case(name)
    w = nn.Parameter(torch.randn(shape, dtype=torch.float64))
    optimizer = Adafactor([w], lr=0.0)
    for _ in range(3):
        w.grad = torch.randn_like(w)
        optimizer.step()
    state = optimizer.state[w]
    estimate = lambda: state["row_var"] @ state["col_var"] / state["row_var"].mean()  # noqa: E731
    expected = carried(SQUARE, symmetry, g, {"w": estimate()})["w"]
    scalings = Scalings([symmetry], {"w": shape}, dtype=torch.float64)
    moments = states(optimizer, {"w": w}, TRANSPORT, {})
    together([symmetry], [g], scalings, {"w": w.detach()}, moments, "here").commit()
    assert_close(estimate(), expected)
    assert_close(state["row_var"], expected.mean(-1, keepdim=True))
    assert_close(state["col_var"], expected.mean(-2, keepdim=True))
    kept = states(optimizer, {"w": w}, TRANSPORT | {"second_moments": "keep"}, {})
    assert kept == [] == states(optimizer, {"w": w}, TRANSPORT, {"row_var": "keep", "col_var": "keep"})


def test_factored_squares_that_nothing_moves_are_not_written():
    parameters, optimizer = trained(Adafactor)
    before = {n: {k: v.clone() for k, v in optimizer.state[p].items()} for n, p in parameters.items()}
    (symmetry,) = mlp_symmetries(mlp(3, 4, 2))
    slots = tuple(s for s in symmetry.slots if s.parameter != "2.weight")
    symmetry = Symmetry(symmetry.group, slots)
    data = {n: p.detach() for n, p in parameters.items()}
    scalings = Scalings([symmetry], {n: tuple(p.shape) for n, p in data.items()})
    moments = states(optimizer, parameters, TRANSPORT, {})
    together([symmetry], [symmetry.sample()], scalings, data, moments, "here").commit()
    for name, p in parameters.items():
        moved = [k for k, v in optimizer.state[p].items() if not torch.equal(v, before[name][k])]
        assert moved == {"0.weight": ["row_var", "col_var"], "0.bias": ["variance"]}.get(name, [])


def test_a_reset_of_factored_squares():
    _, optimizer = trained(Adafactor)
    assert {key for key, _ in written(optimizer, {"second_moments": "reset"})} == {
        "row_var", "col_var", "variance",
    }  # fmt: skip


def test_the_history_of_lbfgs_is_forgotten():
    model = mlp(3, 4, 2)
    optimizer = LBFGS(model.parameters(), max_iter=3)
    x, y = torch.randn(5, 3), torch.randn(5, 2)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    entries = optimizer.state[model[0].weight]
    assert set(HISTORY) < entries.keys()
    assert states(optimizer, dict(model.named_parameters()), TRANSPORT, {}) == []
    assert resets(optimizer, {"momentum": "reset", "second_moments": "reset"}, {}) == []
    restart(optimizer, TRANSPORT, {})
    assert entries == {"func_evals": 3, "n_iter": 0}


def test_kinds_are_named_as_users_write_them():
    assert {name: kind.name for name, kind in KINDS.items()} == {name: name for name in KINDS}
