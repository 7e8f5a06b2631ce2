"""The laws of a flow that acts: identity, inverse, subgroups, derivatives, gradients; and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import grad, jvp, vmap
from torch.testing import assert_close

from discovery.fields import Case, Tangent, astray, batch, rescaled, rescaling, tangent
from isoloss.discovery import DiscoveredSymmetry, Invariance
from isoloss.discovery._invariance import lines_like
from isoloss.groups import GeneralLinear, Translation
from isoloss.symmetry import Symmetry
from laws import assert_equal

CASES = {"rescaling": rescaled, "tangent": tangent}
FIELDS = pytest.mark.parametrize("build", CASES.values(), ids=CASES)
EPS = torch.finfo(torch.float64).eps


def element(case: Case, scale: float = 0.5) -> Tensor:
    return scale * torch.randn(case.symmetry.group.n, dtype=torch.float64)


def apart(x: dict[str, Tensor], y: dict[str, Tensor]) -> float:
    return float(torch.cat([(x[n] - y[n]).flatten() for n in x]).norm())


def moved(case: Case, g: Tensor, steps: int = 16) -> dict[str, Tensor]:
    return replace(case.symmetry, steps=steps).act(g, case.tensors)


def truncation(case: Case, *elements: Tensor) -> float:
    """What the integrator may be off by, all elements together: twice the change when its steps are halved.

    An error of h^4 falls to a sixteenth, so that the change is 15/16 of it.
    """
    return sum(2 * apart(moved(case, g), moved(case, g, 32)) for g in elements)


def order(coarse: float, fine: float) -> float:
    """By which power of the step an error falls, if it halves."""
    return float(torch.tensor(coarse / fine).log2())


# ---------------------------------------------------------------- the flow


@FIELDS
def test_the_identity_moves_nothing(build):
    case = build()
    still = case.symmetry.identity(dtype=torch.float64)
    assert_equal(case.symmetry.act(still, case.tensors), {n: case.tensors[n] for n in case.symmetry.names})


def test_rescaling_is_what_the_textbook_says():
    case = rescaled()
    g = element(case)
    end, w = moved(case, g), case.tensors
    textbook = {
        "0.weight": g.exp()[:, None] * w["0.weight"],
        "0.bias": g.exp() * w["0.bias"],
        "2.weight": w["2.weight"] / g.exp(),
    }
    assert 0 < apart(end, textbook) <= truncation(case, g)


def test_a_linear_field_flows_to_the_matrix_exponential():
    h = 0.3 * torch.randn(2, 5, 5, dtype=torch.float64)
    symmetry = DiscoveredSymmetry(
        Translation(2),
        field=lambda c, w, data: {"w": torch.einsum("k,kij,j->i", c, h, w["w"])},
        names=("w",),
        steps=64,
    )
    c, w = torch.randn(2, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    a = torch.einsum("k,kij->ij", c, h)
    # The remainder of Taylor's series after four terms, once per step; products of norms bound the rest.
    size = torch.linalg.matrix_norm(a, 2)
    bound = 64 * (size / 64) ** 5 / 120 * (2 * size).exp() * w.norm()
    assert_close(symmetry.act(c, {"w": w})["w"], torch.linalg.matrix_exp(a) @ w, rtol=0, atol=float(bound))


@FIELDS
def test_the_integrator_is_of_fourth_order(build):
    case = build()
    g = element(case)
    reference = moved(case, g, 256)
    coarse, fine = (apart(moved(case, g, steps), reference) for steps in (16, 32))
    assert 3.5 < order(coarse, fine) < 4.5


@FIELDS
def test_the_inverse_undoes_to_the_fifth_order(build):
    """The leading errors there and back cancel."""
    case = build()
    g = element(case)
    gaps = []
    for steps in (16, 32):
        symmetry = replace(case.symmetry, steps=steps)
        there = case.tensors | symmetry.act(g, case.tensors)
        gaps.append(apart(symmetry.act(symmetry.group.inverse(g), there), case.tensors))
    assert gaps[0] <= truncation(case, g, -g)
    assert order(*gaps) > 4.5


@FIELDS
def test_one_element_makes_a_one_parameter_group(build):
    case = build()
    g = element(case)
    there = case.tensors | moved(case, 0.3 * g)
    both = case.symmetry.act(0.7 * g, there)
    allowed = 3 * truncation(case, 0.3 * g, 0.7 * g, g)  # the second flow carries the first one's error along
    assert apart(both, moved(case, g)) <= allowed


def composition_gap(case: Case) -> tuple[float, float]:
    g, h = element(case), element(case)
    there = case.tensors | moved(case, h)
    gap = apart(case.symmetry.act(g, there), moved(case, case.symmetry.group.compose(g, h)))
    return gap, 3 * truncation(case, g, h, g + h)


def test_elements_compose_where_the_fields_commute():
    gap, allowed = composition_gap(rescaled())
    assert gap <= allowed


def test_elements_do_not_compose_where_the_fields_do_not_commute():
    gap, allowed = composition_gap(tangent())
    assert gap > 100 * allowed


@FIELDS
def test_many_elements_at_once(build):
    case = build()
    many = torch.stack([element(case) for _ in range(3)])
    together = vmap(lambda g: case.symmetry.act(g, case.tensors))(many)
    for i, g in enumerate(many):
        one = case.symmetry.act(g, case.tensors)
        # Sums of batches are made in another order; some thousand operations one after another.
        assert_close({n: x[i] for n, x in together.items()}, one, rtol=1e4 * EPS, atol=1e4 * EPS)


@FIELDS
def test_the_path_leads_from_here_to_where_the_element_does(build):
    case = build()
    g = element(case)
    path = case.symmetry.path(g, case.tensors)
    assert all(len(x) == case.symmetry.steps + 1 for x in path.values())
    assert_equal({n: x[0] for n, x in path.items()}, {n: case.tensors[n] for n in path})
    assert_equal({n: x[-1] for n, x in path.items()}, case.symmetry.act(g, case.tensors))


@FIELDS
def test_act_in_place_is_act(build):
    case = build()
    g = element(case)
    expected = case.symmetry.act(g, case.tensors)
    case.symmetry.act_(g, case.tensors)
    assert_equal({n: case.tensors[n] for n in expected}, expected)


def test_act_in_place_is_all_or_nothing():
    case = rescaled()
    before = {n: x.clone() for n, x in case.tensors.items()}
    with pytest.raises(ValueError, match="must give finite values"):
        case.symmetry.act_(torch.full((4,), 1e200, dtype=torch.float64), case.tensors)
    assert_equal(case.tensors, before)


# ---------------------------------------------------------------- derivatives


@FIELDS
def test_differentiable_in_element_and_parameters(build):
    case = build()
    symmetry, names = replace(case.symmetry, steps=2), case.symmetry.names
    inputs = (element(case).requires_grad_(), *(case.tensors[n].requires_grad_() for n in names))

    def act(g, *tensors):
        return tuple(symmetry.act(g, case.tensors | dict(zip(names, tensors, strict=True))).values())

    assert gradcheck(act, inputs)


@FIELDS
def test_the_generator_is_the_velocity(build):
    case = build()
    a, zero = element(case), torch.zeros((), dtype=torch.float64)
    velocity = jvp(lambda t: case.symmetry.act(t * a, case.tensors), (zero,), (zero + 1,))[1]
    assert_close(velocity, case.symmetry.generator(a, case.tensors), rtol=1e3 * EPS, atol=1e3 * EPS)


@FIELDS
def test_the_moment_is_the_adjoint_of_the_generator(build):
    case = build()
    a, w = element(case), case.tensors
    y = {n: torch.randn_like(w[n]) for n in case.symmetry.names}
    slope = torch.stack([(y[n] * v).sum() for n, v in case.symmetry.generator(a, w).items()]).sum()
    assert_close(case.symmetry.moment(y, w) @ a, slope, rtol=1e3 * EPS, atol=1e3 * EPS)
    without = {n: x for n, x in y.items() if n != "0.weight"}
    zeroed = y | {"0.weight": torch.zeros_like(y["0.weight"])}
    assert_equal(case.symmetry.moment(without, w), case.symmetry.moment(zeroed, w))


def slopes(case: Case) -> Tensor:
    gradients = grad(lambda w: case.loss(w, case.data).mean())(case.tensors)
    return case.symmetry.moment(gradients, case.tensors)


@FIELDS
def test_the_loss_has_no_slope_along_the_fields(build):
    assert slopes(build()).abs().max() < 1e3 * EPS


def test_the_loss_has_a_slope_along_other_fields():
    assert slopes(astray()).abs().min() > 1e-3


# ---------------------------------------------------------------- gradients


def transported_gap(case: Case, g: Tensor, steps: int = 16, data=None) -> float:
    """Distance of transported gradients from those at the moved point."""
    symmetry, w = replace(case.symmetry, steps=steps), case.tensors
    gradient = grad(lambda w: case.loss(w, case.data if data is None else data).mean())
    true = gradient(w | symmetry.act(g, w))
    return apart(gradient(w) | symmetry.transport(g, gradient(w), w), true)


@FIELDS
def test_gradients_are_transported(build):
    """To the order of the integrator, as autograd finds them there."""
    case = build()
    g = element(case)
    coarse, fine = transported_gap(case, g), transported_gap(case, g, 32)
    assert coarse < 1e-2 * apart(moved(case, g), case.tensors | {})
    assert order(coarse, fine) > 3.5


def test_gradients_of_other_data_are_not():
    case = tangent()
    g = element(case)
    assert transported_gap(case, g, data=batch()) > 100 * transported_gap(case, g)


def test_transport_needs_the_parameters():
    case = rescaled()
    with pytest.raises(ValueError, match="got no tensors; pass the parameters before the move"):
        case.symmetry.transport(element(case), case.tensors)


def test_absent_gradients_stay_absent():
    case = rescaled()
    found = case.symmetry.transport(element(case), {"2.weight": case.tensors["2.weight"]}, case.tensors)
    assert found.keys() == {"2.weight"}


def test_parameters_that_are_read():
    """Scaling b by exp(c a) and d by exp(-c a) keeps b d; a stays, but its gradient does not."""
    symmetry = DiscoveredSymmetry(
        Translation(1),
        field=lambda c, w, data: {"b": c * w["a"] * w["b"], "d": -c * w["a"] * w["d"]},
        names=("b", "d"),
        given=("a",),
        steps=64,
    )
    w = {n: torch.rand(3, dtype=torch.float64) + 0.5 for n in ("a", "b", "d")}
    g = torch.tensor([0.8], dtype=torch.float64)
    gradient = grad(lambda w: (w["b"] * w["d"] + w["a"].square()).square().sum())
    there = w | symmetry.act(g, w)
    assert symmetry.reads == ("a",) and symmetry.parameters == ("b", "d")
    # 64 (0.8 * 1.5 / 64)^5 / 120 = 1.2e-9 of b; derivatives of that are some times as large.
    assert_close(there["b"], w["b"] * (0.8 * w["a"]).exp(), rtol=2e-9, atol=0)
    found = symmetry.transport(g, gradient(w), w)
    assert_close(found, gradient(there), rtol=1e-7, atol=1e-7)


def test_squared_gradients_cannot_follow():
    case = rescaled()
    with pytest.raises(ValueError, match="choose second_moments='keep' or 'reset'"):
        case.symmetry.transport_second(element(case), case.tensors)
    with pytest.raises(ValueError, match="only slots have charges"):
        case.symmetry.charged(-1)


# ---------------------------------------------------------------- how well it holds


def measured(case: Case, **options) -> Invariance:
    found = case.symmetry.measured(case.loss, case.model, **options)
    assert found.invariance is not None and found.error == found.invariance.change
    return found.invariance


@FIELDS
def test_the_loss_changes_far_less_than_by_chance(build):
    found = measured(build())
    assert found.ratio < 1e-2 and found.length > 0.1


def test_a_quotient_by_infinity_is_no_success():
    """Where random lines leave all bounds nothing is compared."""
    assert Invariance(0.1, 0.2, 1.0, 4).ratio == 0.5
    assert Invariance(0.1, 0.0, 1.0, 4).ratio == math.inf
    for change, random in ((0.0, 0.0), (1e30, math.inf), (math.inf, math.inf), (0.1, math.nan)):
        assert math.isnan(Invariance(change, random, 1.0, 4).ratio)


def test_fields_that_know_nothing_do_as_well_as_chance():
    """They are straight lines in random directions themselves."""
    assert 0.5 < measured(astray(), n=200).ratio < 2.0


def test_on_other_data_the_loss_changes():
    case = tangent()
    assert measured(case, data=batch()).change > 100 * measured(case).change


def test_the_change_is_that_of_the_farthest_point_of_each_curve():
    case = tangent()
    found = measured(case, scale=0.5, n=2, generator=torch.Generator().manual_seed(3))
    draws = torch.Generator().manual_seed(3)
    here, changes = case.loss(case.tensors, case.data), []
    for _ in range(2):
        path = case.symmetry.path(case.symmetry.sample(0.5, draws, dtype=torch.float64), case.tensors)
        points = [{name: x[i] for name, x in path.items()} for i in range(17)]
        changes.append(max(float((case.loss(w, case.data) - here).abs().sum() / here.sum()) for w in points))
    assert_close(found.change, sum(changes) / 2, rtol=1e-6, atol=1e-12)


def test_random_lines_are_as_long_as_the_curves():
    curves = {"w": torch.randn(2, 5, 3).double().cumsum(1), "b": torch.randn(2, 5).double().cumsum(1)}
    lines, lengths = lines_like(curves)
    for i in range(2):
        for j in range(5):
            steps = [
                torch.cat([(x[i, k + 1] - x[i, k]).reshape(-1) for x in curves.values()]) for k in range(j)
            ]
            far = torch.cat([(lines[n][i, j] - curves[n][i, 0]).reshape(-1) for n in curves]).norm()
            assert_close(far, lengths[i, j], rtol=1e-12, atol=0)
            assert_close(float(far), float(sum(step.norm() for step in steps)), rtol=1e-12, atol=1e-12)
    heading = nn.functional.normalize((lines["w"] - lines["w"][:, :1])[:, 1:], dim=2)
    assert_close(heading, heading[:, :1].expand(-1, 4, -1))


def test_the_ratio_of_nothing():
    assert torch.tensor(Invariance(0.0, 0.0, 1.0, 1).ratio).isnan()
    assert Invariance(1.0, 0.0, 1.0, 1).ratio == float("inf")
    assert Invariance(1.0, 4.0, 1.0, 1).as_dict()["ratio"] == 0.25
    assert "2.5e-01 times as much" in str(Invariance(1.0, 4.0, 1.0, 1))


def test_a_loss_of_one_number():
    case = tangent()
    found = case.symmetry.measured(lambda w, data: case.loss(w, data).mean(), case.tensors)
    assert found.invariance is not None and found.invariance.ratio < 1e-2


def test_other_data_are_yet_to_be_measured():
    case = tangent()
    elsewhere = case.symmetry.measured(case.loss, case.model).at(batch())
    assert elsewhere.error is None and elsewhere.invariance is None
    g = element(case)
    assert apart(elsewhere.act(g, case.tensors), case.symmetry.act(g, case.tensors)) > 1e-2


def test_data_of_the_moment_are_asked_for_at_every_use():
    case = tangent()
    now = [case.data]
    live, g = case.symmetry.at(lambda: now[0]), element(case)
    assert_equal(live.act(g, case.tensors), case.symmetry.act(g, case.tensors))
    now[0] = batch()
    assert_equal(live.act(g, case.tensors), case.symmetry.at(now[0]).act(g, case.tensors))


@pytest.mark.parametrize(
    ("loss", "rule"),
    [
        (lambda w, data: torch.ones(2, 2), r"one number, or one per sample; got shape \(2, 2\)"),
        (lambda w, data: 1.0, "one number, or one per sample; got float"),
        (lambda w, data: w["0.bias"] * float("nan"), "must be finite at the point"),
    ],
)
def test_losses_that_are_none(loss, rule):
    case = tangent()
    with pytest.raises(ValueError, match=rule):
        case.symmetry.measured(loss, case.model)


def test_bad_counts():
    with pytest.raises(ValueError, match="n must be a positive whole number; got 0"):
        measured(tangent(), n=0)
    with pytest.raises(ValueError, match="scale must be a finite number"):
        measured(tangent(), scale=-1.0)


# ---------------------------------------------------------------- numbers of other kinds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_parameters_move_in_float32(dtype):
    case = rescaled()
    narrow = {n: x.to(dtype) for n, x in case.tensors.items()}
    g = element(case)
    wide = case.symmetry.act(g, {n: x.float() for n, x in narrow.items()})
    assert_equal(case.symmetry.act(g, narrow), {n: x.to(dtype) for n, x in wide.items()})


def test_the_field_sees_data_in_the_dtype_of_the_parameters():
    seen = []

    def field(c, w, data):
        seen.append((c.dtype, w["w"].dtype, data["x"].dtype, data["i"].dtype))
        return {"w": c * w["w"]}

    data = {"x": torch.ones(2, dtype=torch.float64), "i": torch.arange(2)}
    symmetry = DiscoveredSymmetry(Translation(1), field=field, names=("w",), data=data)
    symmetry.act(torch.ones(1, dtype=torch.float64), {"w": torch.ones(3)})
    assert set(seen) == {(torch.float32, torch.float32, torch.float32, torch.int64)}


# ---------------------------------------------------------------- what it is


def test_what_it_says_of_itself():
    symmetry = tangent().symmetry
    assert (symmetry.name, symmetry.dim, symmetry.linear, symmetry.whole) == ("R^3", 3, False, True)
    assert symmetry.holds == "approximately" and symmetry.dimensionless
    assert repr(symmetry) == "Symmetry(R^3, discovered, on 0.weight, 0.bias, 2.weight, 2.bias)"
    assert symmetry == symmetry and symmetry != replace(symmetry)
    assert not Symmetry(Translation(3), ()).whole


def test_the_signature_tells_fields_and_data_apart():
    symmetry = tangent().symmetry
    assert symmetry.signature() == replace(symmetry).signature()
    field = symmetry.field
    assert isinstance(field, Tangent)
    for changed in (
        replace(symmetry, field=replace(field, directions=2 * field.directions)),
        symmetry.at(batch()),
        replace(symmetry, steps=8),
        replace(symmetry, names=symmetry.names[::-1]),
    ):
        assert changed.signature() != symmetry.signature()


def test_the_signature_sees_the_weights_of_a_network():
    net = nn.Linear(2, 2)
    symmetry = DiscoveredSymmetry(Translation(2), field=lambda c, w, data: {"w": net(c)}, names=("w",))
    before = symmetry.signature()
    assert symmetry.signature() == before
    with torch.no_grad():
        net.weight[0, 0] += 1
    assert symmetry.signature() != before


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (
            {"group": GeneralLinear(2)},
            r"k coefficients, Translation\(k\) without batch and slots; got GL\(2\)",
        ),
        ({"batch": (2,)}, r"got R\^4\^2 with 0 slots"),
        ({"field": None}, "function of c, parameters and data; got NoneType"),
        ({"field": lambda c: c}, "function of c, parameters and data; got a function of others"),
        ({"names": "weight"}, "names must be parameters that move, each once; got 'weight'"),
        ({"names": ()}, "each once"),
        ({"given": ("0.weight",)}, "each once"),
        ({"steps": 0}, "steps must be a positive whole number; got 0"),
    ],
)
def test_refusals(options, rule):
    good = {"group": Translation(4), "field": rescaling, "names": ("0.weight", "0.bias", "2.weight")}
    with pytest.raises(ValueError, match=rule):
        DiscoveredSymmetry(**(good | options))


@pytest.mark.parametrize(
    ("velocity", "got"), [({"w": torch.ones(2)}, r"shape \(2,\)"), ({"v": torch.ones(3)}, "none")]
)
def test_a_field_must_give_what_moves(velocity, got):
    symmetry = DiscoveredSymmetry(Translation(1), field=lambda c, w, data: velocity, names=("w",))
    with pytest.raises(ValueError, match=rf"a velocity for w, of shape \(3,\); got {got}"):
        symmetry.act(torch.ones(1), {"w": torch.ones(3)})
