"""A discovered symmetry where symmetries are used: lists, teleports, curves, ensembles; and where slots are needed."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import jvp
from torch.optim import SGD, Adam
from torch.testing import assert_close

import isoloss
from discovery.fields import SEEN, Case, Tangent, astray, batch, rescaled, squared, tangent
from isoloss.connect import curve, find_group_element, orbit_curve, profile
from isoloss.discovery import DiscoveredSymmetry
from isoloss.ensemble import Exact, orbit_ensemble
from isoloss.flow import conserved_quantities
from isoloss.groups import Translation
from isoloss.landscape import flat_directions, orbit_dimension
from isoloss.learn.actions import Exact as Action
from isoloss.symmetry import Symmetries
from isoloss.teleport import curves, objectives, solvers
from laws import assert_equal

ALWAYS = isoloss.teleport.always


def listed(case: Case) -> Symmetries:
    return Symmetries([case.symmetry], case.model)


def values(case: Case) -> dict[str, torch.Tensor]:
    return {n: x.clone() for n, x in case.tensors.items()}


def gradients(case: Case) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in case.model.named_parameters() if p.grad is not None}


# ---------------------------------------------------------------- in a list


def test_the_table_says_how_well_it_holds():
    case = tangent()
    known = case.symmetry.measured(case.loss, case.model)
    table = Symmetries([known]).table
    assert "approximately" in table and f"{known.error:.0e}" in table and "discovered" in table
    assert "not verified" in listed(case).table


def test_a_model_moves_in_place():
    case = tangent()
    symmetries = listed(case)
    g = symmetries.sample(0.3)
    assert g[0].dtype == torch.float64
    before, expected = case.mean().item(), symmetries.act(g, values(case))
    error = case.symmetry.measured(case.loss, case.model, scale=0.3).error
    symmetries.act_(g)
    assert_equal(case.tensors, expected)
    assert error is not None
    assert case.mean().item() == pytest.approx(before, rel=10 * error)


def test_all_of_a_model_or_nothing():
    case = rescaled()
    before = values(case)
    with pytest.raises(ValueError, match=r"must give finite values; got inf or nan in 0\.weight"):
        listed(case).act_([torch.full((4,), 1e200, dtype=torch.float64)])
    with pytest.raises(ValueError, match=r"an element of R\^4 has shape \(4,\); got \(3,\)"):
        listed(case).act_([torch.ones(3)])
    with pytest.raises(ValueError, match="elements must lie in their group"):
        listed(case).act_([torch.full((4,), float("nan"))])
    assert_equal(case.tensors, before)


def test_beside_symmetries_that_were_found():
    """All move in turn, gradients with them."""
    case = rescaled()
    found = isoloss.find(case.model, case.data[0])
    both = Symmetries([*found, case.symmetry], case.model)
    g, w = both.sample(0.3), values(case)
    there = w | both.act(g, w)

    def gradient(w):
        return torch.func.grad(lambda w: case.loss(w, case.data).mean())(w)

    moved = gradient(w) | both.transport(g, gradient(w), w)
    assert_close(
        moved, gradient(there), rtol=1e-6, atol=1e-6
    )  # 16 steps, elements of size 0.3: 16 (0.3/16)^5


def test_elements_are_kept_on_disk(tmp_path):
    case = tangent()
    symmetries, path = listed(case), tmp_path / "g.safetensors"
    g = symmetries.sample()
    symmetries.save(g, path)
    assert_equal(symmetries.bind(copy.deepcopy(case.model)).load(path), g)
    field = case.symmetry.field
    assert isinstance(field, Tangent)
    other = replace(case.symmetry, field=replace(field, directions=-field.directions))
    for wrong in (other, case.symmetry.at(batch())):
        with pytest.raises(ValueError, match="must hold elements of these 1 symmetries"):
            Symmetries([wrong]).load(path)


def test_another_model_of_the_architecture():
    case = tangent()
    twin = copy.deepcopy(case.model)
    g = listed(case).sample(0.3)
    listed(case).bind(twin).act_(g)
    assert_equal(dict(twin.state_dict()), values(case) | case.symmetry.act(g[0], case.tensors))
    with pytest.raises(ValueError, match=r"got a model without 2\.weight"):
        listed(case).bind(nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(ValueError, match="must have the shapes they had"):
        listed(case).bind(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        self.two = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x).tanh())


def test_tied_parameters_move_together():
    model = Tied()
    loss, data = squared(model), (torch.randn(2, 3).double(), torch.randn(2, 3).double())
    field = Tangent(loss, torch.randn(2, 9).double())
    symmetry = DiscoveredSymmetry(Translation(2), field=field, names=("one.weight",), data=data)
    before = loss(dict(model.named_parameters()), data)
    start = model.one.weight.clone()
    Symmetries([symmetry], model).act_([torch.tensor([0.2, -0.3]).double()])
    assert model.two.weight is model.one.weight
    assert not torch.equal(model.one.weight, start)
    error = symmetry.measured(loss, {"one.weight": start}, scale=0.3).error
    assert error is not None
    change = (loss(dict(model.named_parameters()), data) - before).abs().sum() / before.sum()
    assert change < 10 * error
    untied = DiscoveredSymmetry(Translation(2), field=field, names=("two.weight",), data=data)
    with pytest.raises(ValueError, match="got a model without two.weight"):
        Symmetries([untied], model).act_([torch.ones(2)])


# ---------------------------------------------------------------- teleport

CHOICES = {
    "gradient norm": (objectives.GradientNorm(), None),
    "gradient norm, lowered": (objectives.GradientNorm(lower=True), solvers.LieAscent(steps=4)),
    "predicted decrease": (objectives.PredictedDecrease(), None),
    "balance": (objectives.Balance(), solvers.LieAscent(metric="spectral")),
    "custom": (objectives.Custom(lambda point, w: w["0.weight"].abs().sum()), solvers.RandomSearch(trials=6)),
    "random": (objectives.GradientNorm(), solvers.RandomTeleport()),
}


def teleport(case: Case, objective=None, optimizer=None, **options) -> isoloss.Teleport:
    options = {"approximate": True, "loss": case.mean, "radius": 0.2, "schedule": ALWAYS} | options
    optimizer = SGD(case.model.parameters(), lr=0.01) if optimizer is None else optimizer
    return isoloss.Teleport(optimizer, listed(case), objective, **options)


@pytest.mark.parametrize(("objective", "solver"), CHOICES.values(), ids=CHOICES)
def test_a_teleport_along_the_flow(objective, solver):
    case = tangent()
    mover = teleport(case, objective, solver=solver, max_loss_change=1e-3, measure=case.mean)
    assert mover.used == (case.symmetry,)
    case.mean().backward()
    before = values(case)
    jump = mover.step()
    assert jump is not None and jump.skipped is None and jump.before is not None and jump.after is not None
    assert any(not torch.equal(case.tensors[n], before[n]) for n in before)
    if not isinstance(solver, solvers.RandomTeleport):
        assert jump.after < jump.before if objective.lower else jump.after > jump.before
    at = isoloss.teleport.Point(
        case.tensors, {}, {n: 0.01 for n in before}, lambda w: case.loss(dict(w), case.data).mean()
    )
    if isinstance(objective, objectives.GradientNorm):
        assert_close(objective.evaluate(at, case.tensors).item(), jump.after, rtol=1e-6, atol=0)
    moved = gradients(case)
    case.model.zero_grad()
    case.mean().backward()
    assert_close(moved, gradients(case), rtol=1e-3, atol=1e-3)  # the flow keeps the loss to 1e-3, as asked


def test_momentum_is_transported_and_squares_are_kept():
    case = tangent()
    optimizer = Adam(case.model.parameters(), lr=1e-3)
    case.mean().backward()
    optimizer.step()
    weight = case.model.get_parameter("0.weight")
    here, gradient = values(case), gradients(case)
    first = {n: optimizer.state[p]["exp_avg"].clone() for n, p in case.model.named_parameters()}
    second = optimizer.state[weight]["exp_avg_sq"].clone()
    mover = teleport(case, solver=solvers.RandomTeleport(), optimizer=optimizer, generator=torch.Generator())
    g = 0.2 * torch.randn(3, generator=torch.Generator(), dtype=torch.float64)
    g = 0.2 * g / g.abs().max()  # as the solver draws it
    mover.step()
    assert_equal(case.tensors, case.symmetry.act(g, here))
    assert_equal(optimizer.state[weight]["exp_avg_sq"], second)
    for states, found in (
        (first, {n: optimizer.state[p]["exp_avg"] for n, p in case.model.named_parameters()}),
        (gradient, gradients(case)),
    ):
        # The same numbers; sums are made in another order.
        assert_close(found, case.symmetry.transport(g, states, here), rtol=1e-12, atol=1e-12)


def test_a_jump_that_changes_the_loss_is_rolled_back():
    case = astray()
    mover = teleport(case, max_loss_change=1e-3)
    case.mean().backward()
    before, gradient = values(case), gradients(case)
    jump = mover.step()
    assert jump is not None and jump.skipped is not None
    assert "by more than 0.001 of it; undone" in jump.skipped
    assert_equal(case.tensors, before)
    assert_equal(gradients(case), gradient)


def test_minibatches_of_the_moment():
    """The fields follow the data, and with them the loss of every batch is kept."""
    case = tangent()
    now = [case.data]
    live = replace(case, symmetry=case.symmetry.at(lambda: now[0]))

    def loss():
        return case.loss(dict(case.model.named_parameters()), now[0]).mean()

    mover = teleport(live, loss=loss, max_loss_change=1e-3)
    for _ in range(2):
        now[0] = batch()
        case.model.zero_grad()
        loss().backward()
        jump = mover.step()
        assert jump is not None and jump.skipped is None


def test_a_teleport_needs_to_be_told():
    case = tangent()
    with pytest.raises(ValueError, match=r"got R\^3, approximately only; pass approximate=True"):
        teleport(case, approximate=False, solver=solvers.LieAscent())
    for solver in (None, solvers.LieAscent(), solvers.RandomSearch(), solvers.RandomTeleport()):
        with pytest.raises(
            ValueError, match=r"along R\^3: must evaluate the loss at other parameters; got none"
        ):
            teleport(case, solver=solver, loss=None)
    for solver in (solvers.TransportedAscent(), solvers.DiscreteSearch()):
        with pytest.raises(ValueError, match=r"choose LieAscent\(\), which can move along R\^3"):
            teleport(case, objectives.GradientNorm(), solver=solver)
    assert teleport(case, objectives.Balance(), loss=None).used  # it needs none


def test_frozen_parameters_stay():
    case = tangent()
    case.model.get_parameter("0.weight").requires_grad_(False)
    with pytest.warns(UserWarning, match=r"move what is not trained: R\^3 \(0\.weight is frozen\)"):
        assert not teleport(case).used


def test_several_processes_would_move_apart(monkeypatch):
    case = tangent()
    mover = teleport(case)
    case.mean().backward()
    monkeypatch.setattr("isoloss.teleport._teleport.several", lambda: True)
    before = values(case)
    with pytest.raises(ValueError, match=r"must move it alike, .* got R\^3; leave it out"):
        mover.step()
    assert_equal(case.tensors, before)


def test_a_solver_that_passes_it_over_says_so():
    case = rescaled()
    found = isoloss.find(case.model, case.data[0])
    both = Symmetries([*found, case.symmetry], case.model)
    optimizer = SGD(case.model.parameters(), lr=0.01)
    with pytest.warns(
        UserWarning, match=r"TransportedAscent cannot move along what acts by a flow; it leaves out R\^4"
    ):
        isoloss.Teleport(optimizer, both, solver=solvers.TransportedAscent(), approximate=True)
    mover = isoloss.Teleport(optimizer, both, approximate=True, loss=case.mean)
    assert isinstance(mover.solver, solvers.LieAscent) and case.symmetry in mover.used
    assert isinstance(isoloss.Teleport(optimizer, both).solver, solvers.TransportedAscent)


# ---------------------------------------------------------------- curves


def losses(case: Case, w):
    return case.loss(w, case.data).mean()


def test_a_curve_along_the_flow():
    case = tangent()
    g = [torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)]
    path = orbit_curve(case.model, listed(case), g)
    assert_equal(path.start, values(case))
    assert_equal(path.end, values(case) | case.symmetry.act(g[0], case.tensors))
    assert_close(path.velocity(0.0), case.symmetry.generator(g[0], case.tensors), rtol=1e-12, atol=1e-12)
    along = profile(path, lambda w: losses(case, w), n=21)
    straight = profile(isoloss.connect.Line(path.start, path.end), lambda w: losses(case, w), n=21)
    assert along.variation < 1e-2 * straight.variation


def test_a_point_of_the_orbit_is_recognized():
    case = tangent()
    case = replace(
        case, symmetry=replace(case.symmetry, steps=2)
    )  # of whatever accuracy, it is an action to invert
    g = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)
    there = values(case) | case.symmetry.act(g, case.tensors)
    found = find_group_element(case.tensors, there, listed(case))
    assert found
    assert_close(
        found.elements[0], g, rtol=1e-6, atol=1e-6
    )  # half of the digits, and the condition of the fields
    assert_close(curve(case.tensors, there, listed(case)).end, there, rtol=1e-6, atol=1e-6)
    assert not find_group_element(case.tensors, {n: x + 0.1 for n, x in there.items()}, listed(case))


def test_a_point_of_the_orbit_of_both_is_recognized():
    """Nothing can be read off blocks that a flow moves as well: all elements are sought together."""
    case = rescaled()
    plain = isoloss.find(case.model, case.data[0]).where(lambda s: s.dim > 0)
    field = Tangent(case.loss, torch.randn(1, 26, dtype=torch.float64))
    flow = DiscoveredSymmetry(Translation(1), field=field, names=SEEN, data=case.data, steps=2)
    both = Symmetries([*plain, flow], case.model)
    g = both.sample(0.1)
    there = values(case) | both.act(g, case.tensors)
    found = find_group_element(case.tensors, there, both)
    assert found
    assert_close(found.elements, g, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [rescaled, tangent])
def test_derivatives_of_its_curves(build):
    case = build()
    a = torch.randn(case.symmetry.group.n, dtype=torch.float64)
    one = curves.OrbitCurve(case.symmetry, a)
    first, *_ = one.derivatives(case.tensors, order=1)
    zero = torch.zeros((), dtype=torch.float64)
    velocity = jvp(lambda t: one.at(t, case.tensors), (zero,), (zero + 1,))[1]
    assert_close(first, velocity, rtol=1e-12, atol=1e-12)


def test_higher_derivatives_of_its_curves():
    case = rescaled()
    a = torch.randn(4, dtype=torch.float64)
    third = curves.OrbitCurve(case.symmetry, a).derivatives(case.tensors)[2]
    assert_close(third["2.weight"], -(a**3) * case.tensors["2.weight"], rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- ensembles


def test_an_ensemble_on_the_orbit():
    """Three samples have three losses, so that six outputs keep three degrees of freedom."""
    case = tangent()
    source = Exact(listed(case), approximate=True)
    assert not source.agree
    ensemble = orbit_ensemble(case.model, source, n=4, epsilon=0.3)
    here = case.model(case.data[0])
    outputs = ensemble.outputs(case.data[0])
    assert outputs.shape == (4, 3, 2)
    # The losses are kept, not the outputs: they stay as far from the target.
    kept = (outputs - case.data[1]).square().sum(-1)
    assert_close(kept, (here - case.data[1]).square().sum(-1).expand(4, -1), rtol=1e-3, atol=1e-3)
    assert (outputs - here).abs().max() > 1e-2
    with pytest.raises(ValueError, match="approximate=True"):
        orbit_ensemble(case.model, listed(case), n=2)


# ---------------------------------------------------------------- where slots are needed


def test_orbits_are_counted_by_slots():
    case = tangent()
    with pytest.raises(
        ValueError, match=r"must act by slots, by which it counts; got R\^3, which acts as a whole"
    ):
        orbit_dimension(case.model, listed(case))


def test_flat_directions_of_a_flow_that_is_exact():
    """At a minimum of zero loss all that keeps the outputs is flat: as many directions as fields."""
    case = rescaled()
    model, data = case.model, (case.data[0], case.model(case.data[0]).detach())

    def loss():
        return (model(data[0]) - data[1]).square().mean()

    exact = replace(case.symmetry, exact=True)
    found = flat_directions(model, loss, Symmetries([exact], model), critical=False)
    twin = isoloss.find(model, data[0]).where(lambda s: s.dim > 0)
    assert found.orbit_dimension == 4 == flat_directions(model, loss, twin, critical=False).orbit_dimension
    assert found.explained == 4
    with pytest.raises(ValueError, match="there must be an exact continuous symmetry"):
        flat_directions(model, loss, listed(case))


def test_what_is_conserved_needs_a_linear_action():
    with pytest.raises(ValueError, match="its action is not linear"):
        conserved_quantities(listed(rescaled()))


def test_learned_optimizers_take_what_holds_on_all_inputs():
    with pytest.raises(ValueError, match=r"must hold on all inputs; got R\^4 \(discovered\)"):
        Action(rescaled().symmetry)
