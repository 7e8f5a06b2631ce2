"""The preconditioner against torch's own optimizers, and the norm along the orbit."""

from dataclasses import replace

import pytest
import torch
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop
from torch.testing import assert_close

from isoloss.groups import GeneralLinear
from isoloss.teleport import GradientNorm, Mahalanobis, Teleport, always
from isoloss.teleport.objectives._preconditioner import preconditioner
from landscapes import landscape
from networks import backward, gradients, linear_symmetries, mlp, mlp_symmetries

# Without momentum and weight decay the step of an adaptive method is its preconditioned gradient.
PLAIN = {
    "SGD": (SGD, {}),
    "Adagrad": (Adagrad, {}),
    "Adagrad, initial": (Adagrad, {"initial_accumulator_value": 0.3, "eps": 1e-3}),
    "RMSprop": (RMSprop, {"alpha": 0.9}),
    "RMSprop, centered": (RMSprop, {"centered": True}),
    "Adam": (Adam, {"betas": (0.0, 0.99), "eps": 1e-4}),
    "Adam, amsgrad": (Adam, {"betas": (0.0, 0.9), "amsgrad": True}),
    "AdamW": (AdamW, {"betas": (0.0, 0.999), "weight_decay": 0.0}),
    "NAdam": (NAdam, {"betas": (0.0, 0.99), "eps": 1e-4}),
    "RAdam": (RAdam, {"betas": (0.0, 0.9), "eps": 1e-4}),  # rectified from the sixth step on
    "Adamax": (Adamax, {"betas": (0.0, 0.9), "eps": 1e-4}),
    "Adadelta": (Adadelta, {"rho": 0.8, "eps": 1e-4}),
}


def adaptive(name, steps=3, **options):
    cls, settings = PLAIN[name]
    return landscape(cls, steps=steps, **settings, **options)


@pytest.mark.parametrize(
    "steps", [0, 1, 4, 7], ids=["first step", "second step", "fifth step", "eighth step"]
)
@pytest.mark.parametrize("name", PLAIN)
def test_it_is_what_the_next_step_multiplies_the_gradient_by(name, steps):
    model, optimizer, point = adaptive(name, steps)
    found = preconditioner(point)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer.step()
    for n, p in model.named_parameters():
        # The centered variance is a difference of nearly equal numbers in the first steps.
        assert_close(p.detach() - before[n], -0.05 * found[n] * point.gradients[n], rtol=1e-9, atol=1e-10)


def test_it_divides_gradients_in_half_precision_in_float32():
    _, _, point = landscape(Adam)
    half = {n: g.bfloat16() for n, g in point.gradients.items()}
    found = preconditioner(replace(point, gradients=half, state={}))
    assert all(a.dtype == torch.float32 for a in found.values())


def test_optimizers_that_divide_by_something_else_are_refused():
    _, _, point = landscape(Rprop)
    with pytest.raises(
        ValueError,
        match="second moments must be known, one of sum, square_avg.*got .*prev.* choose GradientNorm",
    ):
        preconditioner(point)


def test_another_second_moment_under_the_same_settings_is_refused():
    """As AdaBelief has: the settings are Adam's, the entry of the state is not."""
    _, _, point = landscape(Adam)
    state = {n: {"exp_avg_var": s["exp_avg_sq"], "step": s["step"]} for n, s in point.state.items()}
    with pytest.raises(ValueError, match="got exp_avg_var, step at 0.weight"):
        preconditioner(replace(point, state=state))


def test_the_first_steps_of_radam_cannot_be_transported():
    _, _, point = landscape(RAdam)
    assert Mahalanobis().scaling_form(point).power == -1
    with pytest.raises(ValueError, match="RAdam in its first steps, .* choose second_moments='keep'"):
        Mahalanobis(second_moments="transport").scaling_form(point)


def test_with_sgd_it_is_the_gradient_norm():
    model, optimizer, point = landscape()
    assert_close(Mahalanobis().evaluate(point, {}), GradientNorm().evaluate(point, {}), rtol=1e-14, atol=0.0)
    jumps = []
    for objective in (Mahalanobis(), GradientNorm()):
        model, optimizer, _ = landscape()
        jumps.append(Teleport(optimizer, mlp_symmetries(model), objective, always).step())
    assert jumps[0].size == jumps[1].size


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("name", PLAIN)
def test_kept_it_is_known_where_a_jump_leads(name, lower):
    """The weighted sum of the moved gradients, with the weights from before: what was predicted."""
    model, optimizer, point = adaptive(name)
    weights = preconditioner(point)
    objective = Mahalanobis(lower=lower)
    options = {"momentum": "keep", "second_moments": "keep"}
    jump = Teleport(optimizer, mlp_symmetries(model), objective, always, 0.3, **options).step()
    assert jump.before == pytest.approx(
        sum((weights[n] * g**2).sum() for n, g in point.gradients.items()).item()
    )
    moved = sum((weights[n] * g**2).sum() for n, g in gradients(model).items()).item()
    assert jump.after == pytest.approx(moved, rel=1e-10)
    assert jump.after < jump.before if lower else jump.after > jump.before
    assert jump.gradient_norm_after == pytest.approx(
        torch.nn.utils.get_total_norm(gradients(model).values()).item(), rel=1e-10
    )
    assert objective.evaluate(point, dict(model.named_parameters())).item() == pytest.approx(moved, rel=1e-10)


@pytest.mark.parametrize(
    "name", ["Adagrad", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adadelta"]
)
def test_transported_it_is_known_where_a_jump_leads(name):
    """The norm read anew from the state, which has moved with the gradients: what was predicted, up to eps."""
    model, optimizer, _ = adaptive(name, 8)
    for group in optimizer.param_groups:
        group["eps"] = 1e-14
    x, symmetries = torch.randn(16, 5).double(), mlp_symmetries(model)
    y = torch.randn(16, 3).double()
    backward(model, x, y)
    teleport = Teleport(optimizer, symmetries, Mahalanobis(second_moments="transport"), always, 0.3)
    first = teleport.step()
    second = teleport.step()
    # eps against the smallest root of a second moment, about 1e-5 here.
    assert second.before == pytest.approx(first.after, rel=1e-7)
    assert first.after > first.before


def test_minimizing_the_transported_norm_stops_at_a_minimum():
    """A posynomial of half the power: the closed form of its sweeps must still land where nothing is left to do."""
    model, optimizer, _ = adaptive("AdamW")  # of a small eps, which this choice neglects
    objective = Mahalanobis(lower=True, second_moments="transport")
    teleport = Teleport(optimizer, mlp_symmetries(model), objective, always, float("inf"))
    first, second = teleport.step(), teleport.step()
    assert first.after < first.before
    assert second.size < 1e-3 and second.after == pytest.approx(second.before, rel=1e-6)


def test_learning_rates_weigh_it():
    _, _, point = landscape(Adam)
    rates = {n: 0.2 if n == "0.weight" else 0.1 for n in point.rates}
    weighted, a = replace(point, rates=rates), preconditioner(point)
    parts = {n: (a[n] * g**2).sum() for n, g in point.gradients.items()}
    expected = sum(rates[n] / 0.2 * part for n, part in parts.items())
    assert_close(Mahalanobis().evaluate(weighted, {}), expected)


def test_matrices_are_left_alone():
    """They would mix entries that have different weights: the solver must not pretend to know the norm there."""
    model = mlp(5, 6, 3, activation=torch.nn.Identity).double()
    optimizer = Adam(model.parameters(), lr=0.01)
    backward(model, torch.randn(8, 5).double(), torch.randn(8, 3).double())
    symmetries = linear_symmetries(model)
    assert isinstance(symmetries[0].group, GeneralLinear)
    jump = Teleport(optimizer, symmetries, Mahalanobis(), always).step()
    assert jump.size == 0.0 and jump.after == jump.before


def test_what_is_transported_cannot_be_evaluated():
    _, _, point = landscape(Adam)
    with pytest.raises(
        ValueError, match="must be asked of a solver that knows the group element; got evaluate"
    ):
        Mahalanobis(second_moments="transport").evaluate(point, {})
    with pytest.raises(ValueError, match="second_moments must be keep or transport; got 'reset'"):
        Mahalanobis(second_moments="reset")
