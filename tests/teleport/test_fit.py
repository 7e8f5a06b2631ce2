"""What does not fit is refused when a teleport is made, in one sentence, and nothing is changed."""

import copy
import re

import pytest
import torch
from torch import nn

from isoloss import Teleport, find
from isoloss.symmetry import Symmetries
from isoloss.teleport import (
    Balance,
    Custom,
    DependentAscent,
    DiscreteSearch,
    Distance,
    GradientNorm,
    LevelSetAscent,
    LieAscent,
    Mahalanobis,
    NullSpaceProjection,
    PredictedDecrease,
    QuadraticForm,
    RandomSearch,
    RandomTeleport,
    Sharpness,
    TangentAscent,
    TransportedAscent,
    always,
)


def ready(activation: nn.Module | None = None):
    """A small network, its optimizer, its symmetries and a closure, with gradients that wait."""
    model = nn.Sequential(nn.Linear(3, 5), activation or nn.ReLU(), nn.Linear(5, 2))
    x, y = torch.randn(8, 3), torch.randn(8, 2)
    symmetries = find(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss():
        return nn.functional.mse_loss(model(x), y)

    loss().backward()
    return model, optimizer, symmetries, loss


DISTANCE = Distance({"0.weight": torch.arange(15.0).reshape(5, 3)})
ONE = Custom(lambda point, w: w["0.weight"].sum())
# Objective, solver, options, what is said.
UNFIT = {
    "not a sum of squares": (DISTANCE, TransportedAscent(), {}, "must have form.*got Distance"),
    "custom is none either": (ONE, TransportedAscent(), {}, "must have form.*got Custom"),
    "no closed form": (Balance(), QuadraticForm(), {"loss": True}, "must be GradientNorm.*got Balance"),
    "the transported norm": (
        Mahalanobis(second_moments="transport"),
        LieAscent(),
        {"loss": True},
        "LieAscent: the objective must be known at any parameters",
    ),
    "sharpness": (
        Sharpness(),
        None,
        {},
        "LieAscent, for the sharpness: must evaluate the loss.*loss=closure",
    ),
    "decrease": (PredictedDecrease(), RandomSearch(), {}, "RandomSearch, for the predicted decrease: must"),
    "mahalanobis": (Mahalanobis(), LieAscent(), {}, "must evaluate the loss"),
    "tangent": (GradientNorm(), TangentAscent(), {}, "TangentAscent, for the gradient norm: must evaluate"),
    "level set": (Balance(), LevelSetAscent(), {"radius": 0.1}, "LevelSetAscent: must evaluate the loss"),
    "null space": (GradientNorm(), NullSpaceProjection(), {}, "NullSpaceProjection: must evaluate the loss"),
    "quadratic": (GradientNorm(), QuadraticForm(), {}, "QuadraticForm: must evaluate the loss"),
    "dependent": (GradientNorm(), DependentAscent, {}, "DependentAscent: must evaluate the loss"),
    "minibatches displace": (
        GradientNorm(),
        NullSpaceProjection(),
        {"minibatches": lambda: []},
        "NullSpaceProjection: must evaluate the loss",
    ),
    "no size": (GradientNorm(), LieAscent(), {"radius": float("inf")}, "radius inf"),
    "no step": (
        Balance(),
        LieAscent(),
        {},
        "a step of an ascent must have a length; got radius inf and no rate",
    ),
    "no length": (Balance(), RandomTeleport(), {}, "RandomTeleport: the radius must be finite; got inf"),
    "no bound": (
        Balance(),
        LevelSetAscent(),
        {"loss": True},
        "LevelSetAscent: a step of an ascent must have",
    ),
    "dependent without bound": (
        GradientNorm(lower=True),
        DependentAscent,
        {"loss": True, "radius": float("inf")},
        "DependentAscent: the radius must be finite",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_refused_at_once(case):
    objective, solver, options, said = UNFIT[case]
    model, optimizer, symmetries, loss = ready()
    before = {n: p.clone() for n, p in model.named_parameters()}
    options = dict(options) | ({"loss": loss} if options.get("loss") else {})
    solver = solver(symmetries) if isinstance(solver, type) else solver
    with pytest.raises((ValueError, TypeError), match=said) as refused:
        Teleport(optimizer, symmetries, objective, solver=solver, **options)
    assert_one_sentence(str(refused.value))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def assert_one_sentence(message: str) -> None:
    """Where: the rule; got what; the fix."""
    assert re.fullmatch(r"[A-Za-z][\w., ]*: .*; got .*; .*\.", message) and "\n" not in message, message


@pytest.mark.parametrize(
    ("objective", "solver"),
    [
        (GradientNorm(), None),
        (GradientNorm(), LieAscent()),
        (Balance(), None),
        (Mahalanobis(second_moments="transport"), None),
        (DISTANCE, LieAscent()),
        (ONE, RandomSearch()),
        (DISTANCE, DiscreteSearch()),
    ],
)
def test_what_needs_no_loss_works_without(objective, solver):
    """The control: each of these is made and jumps."""
    _, optimizer, symmetries, _ = ready()
    jump = Teleport(optimizer, symmetries, objective, always, solver=solver).step()
    assert jump is not None and jump.skipped is None


def test_minibatches_are_a_loss_for_whoever_only_evaluates():
    _, optimizer, symmetries, loss = ready()
    teleport = Teleport(
        optimizer,
        symmetries,
        Sharpness(directions=2),
        always,
        minibatches=lambda: [loss],
        solver=RandomSearch(2),
    )
    assert teleport.step() is not None


class TestNothingToMove:
    def test_a_solver_without_its_kind_of_group(self):
        _, optimizer, symmetries, _ = ready(nn.GELU())
        for solver, objective in (
            (LieAscent(), DISTANCE),
            (TransportedAscent(), Mahalanobis()),
            (RandomTeleport(), DISTANCE),
        ):
            with pytest.raises(
                ValueError,
                match=rf"the solver {type(solver).__name__} must have a symmetry .*; got S_5; choose "
                r"DiscreteSearch\(\), which can move along S_5\.$",
            ):
                Teleport(optimizer, symmetries, objective, solver=solver)

    def test_permutations_are_not_offered_to_a_sum_of_squares_which_they_do_not_change(self):
        _, optimizer, symmetries, loss = ready(nn.GELU())
        message = r"got S_5; choose DependentAscent\(\), which moves 0 and 2 for one batch, with loss=.*\.$"
        with pytest.raises(ValueError, match=message) as refused:
            Teleport(optimizer, symmetries)
        assert_one_sentence(str(refused.value))
        offered = Teleport(
            optimizer, symmetries, None, always, solver=DependentAscent(symmetries), loss=loss
        ).step()
        declined = Teleport(optimizer, symmetries, None, always, solver=DiscreteSearch(), loss=loss).step()
        assert offered.skipped is None and "do not change a sum of squares" in declined.skipped

    def test_no_symmetries_at_all(self):
        model, optimizer, _, loss = ready()
        with pytest.raises(
            ValueError, match="got no symmetries; choose LevelSetAscent.*which need no symmetry"
        ):
            Teleport(optimizer, Symmetries([], model))
        assert Teleport(optimizer, Symmetries([], model), solver=LevelSetAscent(), loss=loss).used == ()

    def test_discrete_search_where_all_groups_are_continuous(self):
        model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        found = find(model, torch.randn(2, 3)).where(lambda s: s.dim > 0)
        with pytest.raises(
            ValueError, match=r"DiscreteSearch must have .*got R\+\^5; choose TransportedAscent"
        ):
            Teleport(torch.optim.SGD(model.parameters(), lr=0.1), found, DISTANCE, solver=DiscreteSearch())

    def test_frozen_parameters_may_thaw(self):
        """They are left out with a warning, for training may free them later."""
        model, optimizer, symmetries, loss = ready()
        model.requires_grad_(False)
        with pytest.warns(UserWarning, match="0.weight is frozen"):
            teleport = Teleport(optimizer, symmetries, "balance", always)
        before = {n: p.clone() for n, p in model.named_parameters()}
        teleport.step()
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
        model.requires_grad_(True)
        teleport.step()
        assert not torch.equal(model[0].weight, before["0.weight"])


def test_symmetries_of_another_model_are_refused():
    _, optimizer, symmetries, loss = ready()
    _, _, others, _ = ready()
    with pytest.raises(ValueError, match="DependentAscent: the symmetries must be those that Teleport gets"):
        Teleport(optimizer, symmetries, solver=DependentAscent(others), loss=loss)
    with pytest.raises(ValueError, match="DependentAscent: symmetries must be Symmetries; got Sequential"):
        DependentAscent(nn.Sequential())  # type: ignore[arg-type]


class TestCustom:
    @pytest.mark.parametrize("function", [lambda t: t, lambda: 0, lambda p, w, z: z])
    def test_the_signature_is_said(self, function):
        with pytest.raises(
            ValueError, match=r"Custom: function must take two arguments, the point and .*lambda point"
        ):
            Custom(function)

    @pytest.mark.parametrize(
        "function", [lambda p, w: 0, lambda *a: 0, lambda p, w, k=1: 0, torch.add, max, lambda point, /, w: 0]
    )
    def test_whatever_takes_two_arguments_is_taken(self, function):
        assert Custom(function).function is function

    @pytest.mark.parametrize("bad", [{"radius": -1.0}, {"radius": "far"}, {"passes": 1.5}, {"name": 3}])
    def test_the_rest_is_checked(self, bad):
        with pytest.raises(ValueError, match="Custom: name must be a text, radius"):
            Custom(lambda p, w: 0, **bad)


class TestLossThatLooksElsewhere:
    def losses(self, model):
        x, twin = torch.randn(8, 3), copy.deepcopy(model)
        constant = torch.zeros(2, requires_grad=True)
        return {
            "a copy": lambda: twin(x).square().mean(),
            "a constant with a graph": lambda: constant.sum() * 1.0,
        }

    @pytest.mark.parametrize("kind", ["a copy", "a constant with a graph"])
    @pytest.mark.parametrize(
        ("objective", "solver", "options"),
        [
            (GradientNorm(), LevelSetAscent(2), {}),
            (GradientNorm(), NullSpaceProjection(2), {}),
            (GradientNorm(), QuadraticForm(), {}),
            (Sharpness(directions=2), None, {}),
            (PredictedDecrease(), None, {}),
            (GradientNorm(), None, {"max_loss_change": 0.1}),
            (Custom(lambda point, w: point.loss(w)), None, {}),
            (GradientNorm(), DependentAscent, {}),
        ],
    )
    def test_it_is_refused_and_nothing_changes(self, kind, objective, solver, options):
        model, optimizer, symmetries, _ = ready()
        before = {n: p.clone() for n, p in model.named_parameters()}
        solver = solver(symmetries) if isinstance(solver, type) else solver
        loss = self.losses(model)[kind]
        teleport = Teleport(optimizer, symmetries, objective, always, solver=solver, loss=loss, **options)
        with pytest.raises(
            ValueError, match="loss must depend on the parameters.*uses none of them; call the model"
        ):
            teleport.step()
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())

    def test_minibatches_too(self):
        model, optimizer, symmetries, _ = ready()
        teleport = Teleport(
            optimizer, symmetries, schedule=always, minibatches=lambda: [self.losses(model)["a copy"]]
        )
        with pytest.raises(ValueError, match="loss must depend on the parameters"):
            teleport.step()

    def test_it_is_asked_once(self):
        """One pass more at the first jump, none afterwards; what asks the network nothing asks nothing here."""
        _, optimizer, symmetries, loss = ready()
        calls = []

        def counted():
            calls.append(0)
            return loss()

        teleport = Teleport(optimizer, symmetries, schedule=always, loss=counted, max_loss_change=1.0)
        counts = []
        for _ in range(3):
            teleport.step()
            counts.append(len(calls))
            calls.clear()
        assert counts == [3, 2, 2]
        Teleport(optimizer, symmetries, schedule=always, loss=counted).step()
        assert not calls
