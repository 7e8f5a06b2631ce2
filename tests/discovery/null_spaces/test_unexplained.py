"""What no symmetry explains: counted against a literal twin, falling as inputs are added, and never by accident."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from finding.searching import differences, snapshot
from isoloss import certificate, find
from isoloss.discovery import principal_angles, unexplained
from isoloss.groups import GeneralLinear, PositiveScaling
from isoloss.landscape import orbit_dimension, tangent_space
from isoloss.symmetry import Block, Slot, Symmetry
from zoo import ZOO

EPS = torch.finfo(torch.float64).eps


def mlp(activation: nn.Module, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4, bias=bias), activation, nn.Linear(4, 2, bias=bias))


def literal_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """By torch.autograd.functional, in float64: (outputs, parameters)."""
    named = {n: p.detach().double() for n, p in model.named_parameters()}

    def outputs(*values: Tensor) -> Tensor:
        given = dict(zip(named, values, strict=True))
        return torch.func.functional_call(model, given, (x.double(),)).flatten()

    rows = torch.autograd.functional.jacobian(outputs, tuple(named.values()))
    return torch.cat([r.flatten(1) for r in rows], 1)


MODELS = {
    "relu": lambda: mlp(nn.ReLU()),
    "tanh": lambda: mlp(nn.Tanh()),
    "linear": lambda: mlp(nn.Identity(), bias=False),
    "linear with biases": lambda: mlp(nn.Identity()),
}


@pytest.fixture(params=MODELS)
def counted(request):
    model, x = MODELS[request.param](), torch.randn(4, 3)
    found = find(model, x)
    return model, x, found, unexplained(model, x, found)


def test_numbers_are_those_of_the_literal_twin(counted):
    model, x, found, result = counted
    jacobian = literal_jacobian(model, x)
    assert result.coordinates == jacobian.shape[1] and result.outputs == jacobian.shape[0]
    assert result.nullity == jacobian.shape[1] - int(torch.linalg.matrix_rank(jacobian, rtol=1e-8))
    assert result.explained == (orbit_dimension(model, found).dimension if found.dim else 0)
    assert result.number == result.nullity - result.explained and result.clear


def test_directions_are_null_orthonormal_and_across_the_orbit(counted):
    model, x, found, result = counted
    v, jacobian = result.flat(), literal_jacobian(model, x)
    p = jacobian.shape[1]
    assert v.shape == (result.number, p)
    # Products of orthonormal matrices of p columns, a few reflections each; singular values a factor 1e4 from zero.
    assert_close(v @ v.T, torch.eye(len(v), dtype=torch.float64), rtol=0, atol=100 * p * EPS)
    if len(v):
        assert (jacobian @ v.T).abs().max() <= 1e4 * p * EPS * jacobian.norm()
    orbit = tangent_space(found, dict(model.named_parameters()), [n for n, _ in model.named_parameters()])
    if len(v) and orbit.shape[1]:
        assert (v @ orbit).abs().max() <= 100 * p * EPS
    assert {n: t.shape[1:] for n, t in result.directions.items()} == {
        n: p.shape for n, p in model.named_parameters()
    }


def test_explained_directions_are_seen_to_be_null(counted):
    """Rounding in a Jacobian and a velocity."""
    assert counted[3].visible < 1e-14


# ---------------------------------------------------------------- the counting fact


@pytest.mark.parametrize("name", MODELS)
def test_few_data_leave_at_least_parameters_less_outputs(name):
    """Whatever the model: p columns, d rows."""
    model = MODELS[name]()
    for n in (1, 2, 4):
        result = unexplained(model, torch.randn(n, 3))
        assert result.outputs == 2 * n
        assert result.floor == result.coordinates - 2 * n
        assert result.nullity >= result.floor


def test_a_loss_that_is_one_number_leaves_all_directions_but_one():
    """tanh has no continuous symmetry; p - 1 directions keep its loss all the same."""
    model, x, y = mlp(nn.Tanh()), torch.randn(6, 3), torch.randn(6, 2)
    result = unexplained(model, x, loss=lambda out: F.mse_loss(out, y.to(out)))
    assert (result.outputs, result.nullity, result.explained) == (1, 25, 0)
    each = unexplained(model, x, loss=lambda out: (out - y).square().sum(1))
    assert (each.outputs, each.nullity) == (6, 20)


def test_a_loss_has_the_null_space_of_its_own_gradient():
    model, x = mlp(nn.ReLU()), torch.randn(6, 3)
    result = unexplained(model, x, loss=lambda out: out.exp().sum())
    twin = mlp(nn.ReLU()).double()
    twin.load_state_dict(model.state_dict())
    twin(x.double()).exp().sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in twin.parameters()])
    assert (result.nullity, result.explained, result.number) == (25, 4, 21)
    assert (result.flat() @ gradient).abs().max() < 1e-12 * gradient.norm()


# ---------------------------------------------------------------- more inputs


@pytest.mark.parametrize("name", MODELS)
def test_what_depends_on_the_data_falls_away(name):
    """Nothing is left: these networks have the symmetries that `find` reports, and no others."""
    model, x = MODELS[name](), torch.randn(2, 3)
    result = unexplained(model, x, grow=True)
    batches, left = zip(*result.history, strict=True)
    assert left[0] == result.number > 0 or name.startswith("linear")
    assert list(left) == sorted(left, reverse=True) and left[-1] == 0
    assert list(batches) == [2**k for k in range(len(batches))]
    assert result.plateaued and result.remaining == 0
    assert result.flat(lasting=True).shape == (0, result.coordinates)


def test_a_symmetry_that_was_left_out_is_what_remains():
    """The scores of attention: found again as directions, without knowing their form."""
    model, inputs = ZOO["attention_softmax"].build()
    found = find(model, inputs)
    scores = next(s for s in found if isinstance(s.group, GeneralLinear))
    rest = [s for s in found if s is not scores]
    result = unexplained(model, inputs, rest, grow=True)
    proof = certificate(model, inputs, rest, points=1)
    assert result.plateaued and result.remaining == proof.missing == scores.dim
    names = [n for n, _ in model.named_parameters()]
    orbit = tangent_space(found, dict(model.named_parameters()), names)
    angles = principal_angles(result.flat(lasting=True), orbit.T)
    assert len(angles) == scores.dim and float(angles.max()) < 1e-6


def test_lasting_directions_are_among_those_on_the_data():
    result = unexplained(mlp(nn.ReLU()), torch.randn(4, 3), [], grow=True)
    assert 0 < result.remaining == 4 < result.number
    assert float(principal_angles(result.flat(lasting=True), result.flat()).max()) < 1e-6


def test_further_inputs_may_be_given():
    """Two batches of the same five rows teach nothing; a third of others does."""
    model, x, other = mlp(nn.Tanh()), torch.randn(5, 3), torch.randn(5, 3)
    result = unexplained(model, x, grow=[x, other])
    assert [n for n, _ in result.history] == [1, 2, 3]
    assert [left for _, left in result.history] == [16, 16, 6]
    assert not result.plateaued and "still falling, or without a clear gap" in str(result)
    assert unexplained(model, x, grow=[]).history == ((1, 16),)


def test_a_budget_ends_it():
    result = unexplained(mlp(nn.Tanh()), torch.randn(1, 3), grow=True, budget=3)
    assert [n for n, _ in result.history] == [1, 2, 3] and not result.plateaued


# ---------------------------------------------------------------- kinds of models


def test_buffers_that_move_with_a_symmetry_count():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.Tanh(), nn.Linear(4, 2)).eval()
    result = unexplained(model, torch.randn(5, 3), grow=True)
    assert "1.running_mean" in result.directions
    assert (result.explained, result.remaining) == (4, 0)


def test_tokens_and_words():
    model = nn.Sequential(nn.Embedding(7, 2), nn.Linear(2, 3))
    words = torch.tensor([[0, 3, 4]])
    result = unexplained(model, words, grow=True)
    # Four words never came, and drawn below 5 two never will.
    assert result.remaining == 2 * 2 and result.where[0] == "0.weight"
    assert unexplained(model, words, grow=True, vocabulary=7).remaining == 0


def test_a_model_that_nothing_moves_is_free():
    class Constant(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 0.0 * super().forward(x)

    result = unexplained(Constant(2, 2), torch.randn(3, 2), [])
    assert result.nullity == result.number == 6


# ---------------------------------------------------------------- words, and what it must not do


def test_it_reads_as_a_sentence():
    result = unexplained(mlp(nn.ReLU()), torch.randn(2, 3))
    assert str(result).startswith(
        "4 of 22 directions that leave 4 outputs unchanged are explained by symmetries, 18"
    )
    plain = dataclasses.replace(
        result, where=("0.weight",), gap=2e13, history=((1, 18), (2, 3)), plateaued=True
    )
    assert str(plain) == (
        "4 of 22 directions that leave 4 outputs unchanged are explained by symmetries, 18 unexplained in 0.weight "
        "(26 coordinates, so that 22 must exist whatever the model; singular values 2e+13 apart); with so many batches "
        "like these inputs: 18 with 1, 3 with 2, settled"
    )
    assert "the gap is not clear" in str(dataclasses.replace(result, gap=10.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.nullity = 3  # type: ignore[misc]


def test_it_is_the_same_every_time():
    model, x = mlp(nn.Tanh()), torch.randn(2, 3)
    torch.manual_seed(1)
    first = unexplained(model, x, grow=True)
    torch.manual_seed(2)
    second = unexplained(model, x, grow=True)
    assert str(first) == str(second) and torch.equal(first.flat(), second.flat())


def test_the_model_stays_as_it_was():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2)
    ).train()
    x = torch.randn(6, 3)
    model(x).sum().backward()
    before = snapshot(model, x)
    unexplained(model, x, loss=lambda y: y.square().sum(), grow=True, budget=4)
    assert differences(before, snapshot(model, x)) == []


def test_what_is_no_symmetry_explains_nothing():
    wrong = Symmetry(PositiveScaling(4), (Slot("0.weight", Block.whole((4, 3)), (0,)),))
    with pytest.raises(
        ValueError, match=r"unexplained: an exact symmetry must not change the outputs; got R\+\^4 on"
    ):
        unexplained(mlp(nn.ReLU()), torch.randn(8, 3), [wrong])
    other, x = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(8, 3)
    with pytest.raises(
        ValueError, match=r"unexplained: parameters must have the shapes .* got \(4, 3\) for 0.weight"
    ):
        unexplained(mlp(nn.ReLU()), x, find(other, x))
    nearly = dataclasses.replace(wrong, exact=False)
    assert unexplained(mlp(nn.ReLU()), torch.randn(8, 3), [nearly]).explained == 0


class Strict(nn.Linear):
    """Runs on two rows only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(2, 2)


PAIR = (nn.Linear(3, 2), torch.randn(2, 3))
REFUSED = {
    "large": (
        (nn.Linear(100, 30, bias=False), torch.randn(1, 100), []),
        {"limit": 1000},
        "1,000 at the most; got 3,000",
    ),
    "nan": (
        (nn.Linear(3, 2), torch.full((1, 3), torch.nan), []),
        {},
        "outputs must be finite; got nan from these",
    ),
    "loss fails": (
        (*PAIR, []),
        {"loss": lambda y: y @ y.new_zeros(5)},
        "a function of the model's outputs, .* got RuntimeError",
    ),
    "loss number": (
        (*PAIR, []),
        {"loss": lambda y: float(y.sum())},
        "a tensor of real numbers; got float; leave out",
    ),
    "loss count": (
        (*PAIR, []),
        {"loss": lambda y: (y > 0).sum()},
        "a tensor of real numbers; got torch.int64",
    ),
    "grow": (
        (Strict(3, 2), torch.randn(2, 3), []),
        {"grow": [torch.randn(3, 3)]},
        "must run, .* got RuntimeError",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_are_told(name):
    arguments, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)unexplained: .*{message}"):
        unexplained(*arguments, **options)
