"""The companion itself: when it jumps, what it reports, what it refuses, and that a failure changes nothing."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.testing import assert_close

from isoloss.groups import PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry
from isoloss.teleport import Balance, GradientNorm, Jump, Solution, Teleport, TransportedAscent, always, at
from networks import (
    ConvNet,
    backward,
    conv_symmetries,
    gradients,
    linear_symmetries,
    mlp,
    mlp_symmetries,
    snapshot,
)


def same(a, b):
    assert_close(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def ready(cls=SGD, dtype=torch.float32, steps=2, **options):
    """A network, its optimizer after a few steps, and gradients that wait to be used."""
    model = mlp(5, 8, 7, 3).to(dtype)
    optimizer = cls(model.parameters(), **{"lr": 0.05, **options})
    x, y = torch.randn(16, 5, dtype=dtype), torch.randn(16, 3, dtype=dtype)
    for _ in range(steps):
        backward(model, x, y)
        optimizer.step()
    backward(model, x, y)
    return model, optimizer, x, y


# ---------------------------------------------------------------- when, and what it reports


def test_it_jumps_when_the_schedule_says_so():
    model, optimizer, *_ = ready()
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=at(1, 3))
    jumps = [teleport.step() for _ in range(5)]
    assert [jump is not None for jump in jumps] == [False, True, False, True, False]
    assert [jump.step for jump in jumps if jump] == [1, 3]
    assert (teleport.steps, teleport.jumps) == (5, 2)


def test_by_default_it_jumps_four_times_by_a_tenth():
    model, optimizer, *_ = ready()
    teleport = Teleport(optimizer, mlp_symmetries(model))
    assert [step for step in range(1000) if teleport.schedule(step)] == [0, 100, 200, 300]
    assert teleport.radius == 0.1
    assert teleport.step().size == pytest.approx(0.1, rel=1e-6)


def test_a_user_may_decide_step_by_step():
    model, optimizer, *_ = ready()
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=lambda step: step == 2)
    assert [teleport.step() is not None for _ in range(4)] == [False, False, True, False]


def test_predictions_agree_with_measurements():
    model, optimizer, x, y = ready(dtype=torch.float64)
    loss = lambda: nn.functional.mse_loss(model(x), y)  # noqa: E731
    before = snapshot(model, optimizer)
    jump = Teleport(optimizer, mlp_symmetries(model), schedule=always, measure=loss).step()
    assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-13)
    assert jump.measured_gradient_norm_before == pytest.approx(jump.gradient_norm_before, rel=1e-12)
    assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-12)
    assert jump.gradient_norm_after > jump.gradient_norm_before
    assert jump.after == pytest.approx(jump.gradient_norm_after**2)
    assert not any(torch.equal(a, b) for a, b in zip(before[:5], list(model.parameters())[:5], strict=True))


def test_a_measurement_changes_nothing():
    runs = []
    for measure in (False, True):
        torch.manual_seed(3)
        model, optimizer, x, y = ready()
        loss = (lambda m=model, x=x, y=y: nn.functional.mse_loss(m(x), y)) if measure else None
        Teleport(optimizer, mlp_symmetries(model), schedule=always, measure=loss).step()
        runs.append(snapshot(model, optimizer))
    same(*runs)


def test_several_learning_rates_weigh_the_objective_and_not_the_norm():
    model = mlp(5, 8, 7, 3).double()
    rates = {"0.weight": 0.4, "0.bias": 0.4, "2.weight": 0.1, "2.bias": 0.1, "4.weight": 0.2, "4.bias": 0.2}
    groups = [{"params": [p], "lr": rates[n]} for n, p in model.named_parameters()]
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    backward(model, x, y)
    jump = Teleport(SGD(groups), mlp_symmetries(model), schedule=always).step()
    backward(model, x, y)
    moved = gradients(model)
    weighted = sum(rates[n] / 0.4 * g.square().sum() for n, g in moved.items()).item()
    assert jump.after == pytest.approx(weighted, rel=1e-10)
    assert jump.gradient_norm_after == pytest.approx(
        nn.utils.get_total_norm(moved.values()).item(), rel=1e-10
    )


def test_it_prints_what_it_does():
    model, optimizer, *_ = ready()
    teleport = Teleport(optimizer, mlp_symmetries(model), GradientNorm(lower=True), at(1))
    assert repr(teleport) == (
        "Teleport(SGD, 2 of 2 symmetries, GradientNorm(lower=True), at(steps=frozenset({1})), radius 0.1)"
    )


# ---------------------------------------------------------------- what it uses


def test_what_the_optimizer_does_not_train_is_left_out_with_one_warning():
    model = mlp(5, 8, 7, 3)
    model[0].weight.requires_grad_(False)
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.warns(
        UserWarning, match=r"leaves out symmetries that move what is not trained: R\+\^8 \(0.weight is"
    ):
        teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always)
    backward(model, torch.randn(4, 5), torch.randn(4, 3))
    frozen = model[0].weight.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        teleport.step()
    assert len(teleport.used) == 1
    same(model[0].weight, frozen)


def test_thawed_and_added_parameters_join():
    model = mlp(5, 8, 7, 3)
    model[0].weight.requires_grad_(False)
    optimizer = SGD([*model[0].parameters(), *model[2].parameters()], lr=0.1)
    with pytest.warns(UserWarning, match="R\\+\\^8 .*; R\\+\\^7 "):
        teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always)
    assert len(teleport.used) == 0
    optimizer.add_param_group({"params": list(model[4].parameters())})
    assert len(teleport.used) == 1
    model[0].weight.requires_grad_(True)
    assert len(teleport.used) == 2


def test_a_model_that_changes_its_dtype_is_followed():
    model, optimizer, x, y = ready(momentum=0.0)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always)
    model.double()
    backward(model, x.double(), y.double())
    outputs = model(x.double()).detach()
    teleport.step()
    assert_close(model(x.double()), outputs, rtol=1e-12, atol=1e-12)


def test_approximate_symmetries_are_used_on_request():
    model, optimizer, *_ = ready()
    symmetries = Symmetries([replace(s, exact=False) for s in mlp_symmetries(model)], model)
    with pytest.raises(ValueError, match=r"got R\+\^8, up to a norm's eps only; pass approximate=True"):
        Teleport(optimizer, symmetries, schedule=always)
    assert len(Teleport(optimizer, symmetries, approximate=True).used) == 2


def test_buffers_move_with_the_parameters():
    """BatchNorm in eval mode after a layer: running mean and variance follow the layer's scale, as buffers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)).double()
    model(torch.randn(32, 4).double())
    model.eval()
    model[1].eps = 0.0  # with it the scaling is exact
    six = Block.whole((6,))
    slots = (
        Slot("0.weight", Block.whole((6, 4)), (0,)),
        Slot("0.bias", six, (0,)),
        Slot("1.running_mean", six, (0,)),
        Slot("1.running_var", six, (0,), 2),
    )
    symmetries = Symmetries([Symmetry(PositiveScaling(6), slots)], model)
    x, y = torch.randn(8, 4).double(), torch.randn(8, 2).double()
    backward(model, x, y)
    outputs, mean = model(x).detach(), model[1].running_mean.clone()
    Teleport(SGD(model.parameters(), lr=0.1), symmetries, schedule=always).step()
    assert not torch.equal(model[1].running_mean, mean)
    moved = gradients(model)
    backward(model, x, y)
    assert_close(model(x), outputs)
    assert_close(moved, gradients(model))


def test_parameters_in_another_memory_format_keep_it():
    model = ConvNet().double()
    reference = ConvNet().double()
    reference.load_state_dict(model.state_dict())
    model.to(memory_format=torch.channels_last)
    x, y = torch.randn(4, 4, 8, 8).double(), torch.randn(4, 3).double()
    for net in (model, reference):
        net.eval()
        backward(net, x, y)
        Teleport(SGD(net.parameters(), lr=0.1), conv_symmetries(net), schedule=always, radius=0.3).step()
    assert model.one.weight.is_contiguous(memory_format=torch.channels_last)
    assert_close([p.detach() for p in model.parameters()], [p.detach() for p in reference.parameters()])


def test_parameters_without_a_gradient_move_all_the_same():
    model, optimizer, x, _ = ready(dtype=torch.float64)
    outputs = model(x).detach()
    model[0].bias.grad = None
    jump = Teleport(optimizer, mlp_symmetries(model), schedule=always, radius=0.5).step()
    assert_close(model(x), outputs)
    assert model[0].bias.grad is None
    assert jump.gradient_norm_after > jump.gradient_norm_before


def test_a_solver_of_ones_own_may_draw_numbers():
    class Walk(TransportedAscent):
        def solve(self, objective, symmetries, scalings, point, radius, generator=None):
            elements = [
                s.group.exp((2 * torch.rand(s.group.n, generator=generator) - 1) * radius) for s in symmetries
            ]
            value = torch.zeros(())
            return Solution(list(elements), value, value, torch.tensor(radius))

    model, optimizer, x, _ = ready()
    outputs = model(x).detach()
    generator = torch.Generator().manual_seed(5)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always, solver=Walk(), generator=generator)
    state = teleport.state_dict()
    teleport.step()
    assert_close(model(x), outputs)
    here = snapshot(model)
    teleport.load_state_dict(state)
    teleport.step()
    teleport.load_state_dict(state)
    assert teleport.steps == 0
    assert not torch.equal(here[0], model[0].weight)


# ---------------------------------------------------------------- failures


def test_gradients_that_are_not_finite_skip_the_jump():
    for value in (torch.nan, torch.inf):
        model, optimizer, *_ = ready(Adam)
        model[2].weight.grad[0, 0] = value
        before = snapshot(model, optimizer)
        teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always)
        jump = teleport.step()
        assert jump.skipped == "the gradients or parameters are not finite"
        assert (teleport.steps, teleport.jumps) == (1, 0)
        same(snapshot(model, optimizer), before)


def test_gradients_outside_of_all_symmetries_count_as_well():
    model, optimizer, *_ = ready()
    model[4].bias.grad[0] = torch.nan
    assert Teleport(optimizer, mlp_symmetries(model), schedule=always).step().skipped


@pytest.mark.parametrize("where", ["parameter", "state"])
def test_a_jump_that_fails_changes_nothing(where):
    model, optimizer, *_ = ready(Adam)
    if where == "parameter":
        with torch.no_grad():
            model[2].weight[0, 0] = 3.4e38
    else:
        optimizer.state[model[2].weight]["exp_avg_sq"][1, 1] = torch.inf
    before = snapshot(model, optimizer)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always, radius=0.3)
    message = (
        "Teleport.step: a move must give finite values; got inf or nan in (2.weight|exp_avg_sq of 2.weight) "
    )
    with pytest.raises(ValueError, match=message):
        teleport.step()
    same(snapshot(model, optimizer), before)
    assert (teleport.steps, teleport.jumps) == (0, 0)


def test_a_jump_whose_state_is_not_known_changes_nothing():
    model, optimizer, *_ = ready(AdamW)
    optimizer.state[model[0].weight]["mystery"] = torch.ones_like(model[0].weight)
    before = snapshot(model, optimizer)
    with pytest.raises(ValueError, match=r"got 'mystery' of AdamW \(\(8, 5\)\) at 0.weight"):
        Teleport(optimizer, mlp_symmetries(model), schedule=always).step()
    same(snapshot(model, optimizer), before)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always, kinds={"mystery": "gradient"})
    assert teleport.step() is not None
    assert not torch.equal(optimizer.state[model[0].weight]["mystery"], torch.ones(8, 5))


def test_without_gradients_there_is_nothing_to_raise():
    model = mlp(5, 8, 3)
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        ValueError, match=r"gradient norm needs gradients; got none; call it between backward\(\)"
    ):
        Teleport(optimizer, mlp_symmetries(model), schedule=always).step()
    jump = Teleport(optimizer, mlp_symmetries(model), Balance(), always).step()
    assert jump.after < jump.before and jump.gradient_norm_after is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"momentum": "move"},
            "momentum must be one of transport, keep, reset; got 'move'; transport is the default",
        ),
        ({"second_moments": None}, "second_moments must be one of transport, keep, reset; got None"),
        (
            {"radius": -0.2},
            r"radius must be a number that is not negative; got -0.2; .* say so: GradientNorm\(lower=True\)",
        ),
        ({"radius": float("nan")}, "radius must be a number that is not negative; got nan"),
        ({"radius": "a"}, "radius must be a number that is not negative; got 'a'"),
        (
            {"radius": float("inf")},
            "the objective gradient norm has no maximum on an orbit; got radius inf; give a finite radius",
        ),
        ({"objective": Balance(lower=False)}, "the objective squared parameter norm has no maximum"),
        (
            {"objective": "balanced"},
            "objective must be known by its name; got 'balanced'; choose one of gradient-norm, balance, ",
        ),
        (
            {"objective": Balance},
            r"objective must be an object with name, .*; got Balance, that was not called; pass GradientNorm\(\), or",
        ),
        ({"objective": 3}, "objective must be an object with name, .*; got int, without name, radius"),
        (
            {"solver": "ascent"},
            "solver must be known by its name; got 'ascent'; choose one of .*transported-ascent",
        ),
        (
            {"solver": at(1)},
            "solver must be an object with uses, solve; got at, without uses, solve; pass Transp",
        ),
        (
            {"schedule": 5},
            r"schedule must be a function of the step; got 5; write every\(5\), at\(0, 100\), always",
        ),
        ({"generator": 7}, r"generator must be a torch.Generator; got 7; write torch.Generator\(\)"),
        (
            {"kinds": {"z": "first"}},
            "kinds must name what 'z' is; got 'first'; choose one of parameter, gradient, ",
        ),
    ],
)
def test_bad_arguments_are_refused(options, message):
    model, optimizer, *_ = ready()
    with pytest.raises(ValueError, match=f"Teleport: {message}"):
        Teleport(optimizer, mlp_symmetries(model), **options)


def test_arguments_that_changed_places_are_refused():
    model, optimizer, *_ = ready()
    symmetries = mlp_symmetries(model)
    with pytest.raises(
        ValueError, match=r"optimizer must be a torch optimizer; got Sequential; the model goes to"
    ):
        Teleport(model, symmetries)
    with pytest.raises(
        ValueError, match=r"symmetries must be Symmetries; got list; pass what find\(\) returned"
    ):
        Teleport(optimizer, list(symmetries))
    with pytest.raises(
        ValueError, match=r"optimizer must be a torch optimizer; got Symmetries\(.*|got Symmetries;"
    ):
        Teleport(symmetries, optimizer)


def test_objectives_and_solvers_have_names():
    model, optimizer, *_ = ready()
    named = Teleport(optimizer, mlp_symmetries(model), "balance", solver="transported-ascent")
    assert named.objective == Balance() and named.solver == TransportedAscent()
    assert named.radius == torch.inf


@pytest.mark.parametrize(
    "objective", [GradientNorm(), GradientNorm(lower=True), Balance(), Balance(lower=False)]
)
@pytest.mark.parametrize("radius", [50.0, 400.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("linear", [False, True], ids=["scalings", "matrices"])
def test_a_radius_beyond_all_numbers_is_refused_or_not_reached(objective, radius, dtype, linear):
    """Whatever is too large, by matrices or by scalings, changes nothing; what is lowered stops before that."""
    torch.manual_seed(2)
    model = mlp(5, 8, 7, 3, activation=nn.Identity if linear else nn.LeakyReLU).to(dtype)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(16, 5, dtype=dtype)
    for _ in range(2):
        backward(model, x, torch.randn(16, 3, dtype=dtype))
        optimizer.step()
    before, outputs = snapshot(model, optimizer), model(x).detach()
    symmetries = linear_symmetries(model) if linear else mlp_symmetries(model)
    teleport = Teleport(optimizer, symmetries, objective, always, radius)
    try:
        teleport.step()
    except ValueError as error:
        assert "matrices must leave half" in str(error) or "must give finite values" in str(error)
        same(snapshot(model, optimizer), before)
        assert not objective.lower
    else:
        # Three layers, the norms of whose weights the elements (cond(g) up to 100) blow up by rounding errors.
        bound = 300 * torch.finfo(dtype).eps
        assert (model(x) - outputs).norm() <= bound * outputs.norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "a"}, "steps must be a whole number; got 'a'; pass what"),
        ({"steps": 2.5}, "steps must be a whole number; got 2.5"),
        ({"jumps": -1}, "jumps must be a whole number; got -1"),
        ({"jumps": None}, "jumps must be a whole number; got None"),
        ({"generator": 3}, "generator must be the state of one on cpu; got 3"),
        (
            {"generator": torch.zeros(7, dtype=torch.uint8)},
            "generator must be the state of one on cpu; got Tensor",
        ),
    ],
)
def test_states_with_wrong_entries_are_refused(change, message):
    model, optimizer, *_ = ready()
    teleport = Teleport(optimizer, mlp_symmetries(model), generator=torch.Generator().manual_seed(3))
    teleport.steps, before = 4, teleport.generator.get_state()
    with pytest.raises(ValueError, match=f"Teleport.load_state_dict: {message}"):
        teleport.load_state_dict({"steps": 1, "jumps": 1, "generator": before} | change)
    assert (teleport.steps, teleport.jumps) == (4, 0)
    same(teleport.generator.get_state(), before)


def test_states_that_do_not_fit_are_refused():
    model, optimizer, *_ = ready()
    plain = Teleport(optimizer, mlp_symmetries(model))
    drawing = Teleport(optimizer, mlp_symmetries(model), generator=torch.Generator())
    with pytest.raises(ValueError, match=r"needs steps, jumps and generator; got \['steps'\]"):
        plain.load_state_dict({"steps": 3})
    with pytest.raises(ValueError, match="needs steps, jumps and generator; got list; pass what"):
        plain.load_state_dict([3])
    with pytest.raises(ValueError, match="must go to a generator; got one without the other"):
        plain.load_state_dict(drawing.state_dict())
    with pytest.raises(ValueError, match="must go to a generator; got one without the other"):
        drawing.load_state_dict(plain.state_dict())


def test_a_model_that_is_gone_is_missed_at_once():
    model, optimizer, *_ = ready()
    symmetries = mlp_symmetries(model)
    del model
    with pytest.raises(ReferenceError, match="needs the model they were found in"):
        Teleport(optimizer, symmetries)


def test_reports_are_jumps():
    model, optimizer, *_ = ready()
    jump = Teleport(optimizer, mlp_symmetries(model), schedule=always).step()
    assert isinstance(jump, Jump)
    assert jump.as_dict().keys() == {
        "step", "before", "after", "gradient_norm_before", "gradient_norm_after", "size",
    }  # fmt: skip
