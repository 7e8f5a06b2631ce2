"""Data-dependent actions of one task: they keep its outputs, and are those of `isoloss.dependent`."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap
from torch.testing import assert_close

from isoloss import dependent
from isoloss.learn.actions import Action, Dependent, element

EPS = torch.finfo(torch.float64).eps
LEAKY = nn.LeakyReLU(0.1)
# units, inputs, outputs, samples, and are there biases?
SHAPES = {
    "as many samples as units": (6, 5, 3, 6, False),
    "as many as units and the constant": (6, 5, 3, 7, True),
    "fewer": (6, 5, 3, 4, False),
    "fewer, with biases": (6, 5, 3, 4, True),
}
FORMS = {
    "difference": dependent.Difference(),
    "action-2": dependent.Two(),
    "frame": dependent.Frame(),
    "action-1": dependent.One(),
    "action-1 as published": dependent.One(by_differences=False),
}


@dataclass
class Case:
    """An action, and one task."""

    action: Dependent
    parameters: dict[str, Tensor]
    data: dict[str, Tensor]

    def outputs(self, moved: dict[str, Tensor]) -> Tensor:
        w = self.parameters | moved
        hidden = nn.functional.linear(self.data["x"], w["w1"], w.get("b1"))
        return nn.functional.linear(LEAKY(hidden), w["w2"], w.get("b2"))


def case(shape: str, form=None, seed: int = 0, inputs: int | None = None) -> Case:
    h, n, o, k, biased = SHAPES[shape]
    n = inputs or n
    g = torch.Generator().manual_seed(seed)

    def draw(*sizes):
        return torch.randn(*sizes, generator=g, dtype=torch.float64)

    parameters = {"w1": draw(h, n), "w2": draw(o, h)}
    if biased:
        parameters |= {"b1": draw(h), "b2": draw(o)}
    names = ("b1", "b2") if biased else (None, None)
    action = Dependent("w1", "w2", "x", LEAKY, h, form=form or dependent.Difference(), biases=names)
    return Case(action, parameters, {"x": draw(k, n)})


def matrices(
    c: Case, moved: dict[str, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """V, U, X, Z and S of the papers, with biases as columns and constants as rows."""
    w, x = c.parameters | (moved or {}), c.data["x"].mT
    v, u = w["w1"], w["w2"]
    if "b1" in w:
        v, u = torch.cat([v, w["b1"][:, None]], 1), torch.cat([u, w["b2"][:, None]], 1)
        x = torch.cat([x, torch.ones(1, x.shape[1], dtype=x.dtype)])
    z = v @ x
    s = LEAKY(z)
    return v, u, x, z, torch.cat([s, torch.ones(1, s.shape[1], dtype=s.dtype)]) if "b1" in w else s


def rounding(c: Case, moved: dict[str, Tensor]) -> float:
    """What the outputs may change by: a quotient by S', or by its Gram matrix, and the products before and after.

    A solve is backward stable, so that its residual grows with the size of U' only; forming the Gram matrix costs the
    square of the condition number. Each of some eight operations on axes of length h makes h^1.5 eps.
    """
    _, u, _, _, s = matrices(c)
    _, _, _, _, after = matrices(c, moved)
    condition = torch.linalg.cond(after).item() ** 2
    size = torch.linalg.matrix_norm(u) * (torch.linalg.matrix_norm(s) + torch.linalg.matrix_norm(after))
    return 8 * len(s) ** 1.5 * EPS * condition * size.item()


def test_is_an_action():
    assert isinstance(case("fewer").action, Action)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["difference", "action-2", "frame"])
def test_outputs_of_the_batch_stay(shape, form):
    c = case(shape, FORMS[form])
    moved = c.action.act(c.action.group.sample(dtype=torch.float64), c.parameters, c.data)
    assert moved.keys() == c.parameters.keys()
    assert (moved["w1"] - c.parameters["w1"]).norm() > 0.1
    assert_close(c.outputs(moved), c.outputs({}), rtol=0, atol=rounding(c, moved))


@pytest.mark.parametrize("form", ["action-1", "action-1 as published"])
def test_action_1_keeps_the_outputs_of_as_many_samples_as_inputs(form):
    c = case("fewer", FORMS[form], inputs=4)
    moved = c.action.act(c.action.group.sample(dtype=torch.float64), c.parameters, c.data)
    # The inverse of the activation magnifies by 10, its slope on the negative side.
    assert_close(
        c.outputs(moved),
        c.outputs({}),
        rtol=0,
        atol=10 * torch.linalg.cond(c.data["x"]).item() ** 2 * rounding(c, moved),
    )


def test_wrong_moves_change_the_outputs():
    c = case("as many samples as units")
    g = c.action.group.sample(dtype=torch.float64)
    moved = c.action.act(g, c.parameters, c.data)
    assert (c.outputs({"w1": moved["w1"]}) - c.outputs({})).abs().max() > 0.1
    linear = {"w1": g @ c.parameters["w1"], "w2": c.parameters["w2"] @ torch.linalg.inv(g)}
    assert (c.outputs(linear) - c.outputs({})).abs().max() > 0.1


def test_more_samples_than_units_are_a_least_squares_fit():
    c = case("fewer")
    c.data["x"] = torch.randn(30, 5, dtype=torch.float64)
    moved = c.action.act(c.action.group.sample(dtype=torch.float64), c.parameters, c.data)
    residual = c.outputs(moved) - c.outputs({})
    assert residual.norm() > 0.01
    # Normal equations; cf. rounding.
    _, _, _, _, after = matrices(c, moved)
    assert_close(
        after @ residual, torch.zeros(6, 3).double(), rtol=0, atol=rounding(c, moved) * after.norm().item()
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FORMS)
def test_same_as_the_package_that_measures_ranks(shape, name):
    c = case(shape, FORMS[name])
    form, g = FORMS[name], c.action.group.sample(dtype=torch.float64)
    v, u, x, z, s = matrices(c)
    moved = form.incoming(g, v, z, x, dependent.activation_of(LEAKY))
    after = LEAKY(moved @ x)
    after = torch.cat([after, s[len(after) :]])
    read = form.outgoing(g, u, s, after)
    got_v, got_u, *_ = matrices(c, c.action.act(g, c.parameters, c.data))
    assert_close(got_v, moved, rtol=1e-10, atol=1e-10)
    assert_close(got_u, read, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["difference", "action-1"])
def test_identity_moves_nothing(shape, name):
    c = case(shape, FORMS[name])
    moved = c.action.act(c.action.group.identity(dtype=torch.float64), c.parameters, c.data)
    assert_close(moved, c.parameters, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_frame_is_a_group_action_and_difference_is_none(shape):
    defects = {}
    for name in ("frame", "difference"):
        c = case(shape, FORMS[name])
        act, group = c.action.act, c.action.group
        g, h = (group.sample(scale=0.3, dtype=torch.float64) for _ in range(2))
        once = c.parameters | act(g, c.parameters, c.data)
        twice = act(h, once, c.data)
        together = act(h @ g, c.parameters, c.data)
        size = max(t.abs().max().item() for t in (*twice.values(), *once.values()))
        defects[name] = max((twice[n] - together[n]).abs().max().item() for n in together) / size
        bound = sum(rounding(c, moved) for moved in (once, twice, together))
    # With as many samples as units and no more there is only one U' that keeps the outputs.
    assert defects["frame"] < bound
    if "fewer" in shape:
        assert defects["difference"] > 1e-4


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_many_tasks_at_once_are_each_alone(shape, name):
    cases = [case(shape, FORMS[name], seed) for seed in range(3)]
    g = cases[0].action.group.sample((3,), dtype=torch.float64)
    stacked = [
        {n: torch.stack([getattr(c, part)[n] for c in cases]) for n in getattr(cases[0], part)}
        for part in ("parameters", "data")
    ]
    together = vmap(cases[0].action.act)(g, *stacked)
    for i, c in enumerate(cases):
        alone = c.action.act(g[i], c.parameters, c.data)
        size = max(t.abs().max().item() for t in alone.values())
        bound = rounding(c, alone) * torch.linalg.cond(c.data["x"]).item() ** 2 * size
        assert_close({n: t[i] for n, t in together.items()}, alone, rtol=0, atol=bound)
    units = vmap(cases[0].action.units)(*stacked)
    assert_close(units[1], matrices(cases[1])[4][:6], rtol=0, atol=6**1.5 * EPS * 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_are_those_of_the_literal_twin(shape):
    """Same formula, through autograd of the pseudo-inverse."""
    c = case(shape)
    a = 0.1 * torch.randn(6, 6, dtype=torch.float64)
    weights = {n: torch.randn_like(t) for n, t in c.parameters.items()}

    def along(a: Tensor) -> Tensor:
        moved = c.action.act(c.action.group.exp(a), c.parameters, c.data)
        return sum(((weights[n] * t).sum() for n, t in moved.items()), a.new_zeros(()))

    def literal(a: Tensor) -> Tensor:
        v, u, x, _, s = matrices(c)
        v = torch.linalg.matrix_exp(a) @ v
        after = torch.cat([LEAKY(v @ x), s[6:]])
        u = u + u @ (s - after) @ torch.linalg.pinv(after)
        want = (weights["w1"] * v[:, :5]).sum() + (weights["w2"] * u[:, :6]).sum()
        return want if "b1" not in weights else want + weights["b1"] @ v[:, 5] + weights["b2"] @ u[:, 6]

    slope, want = grad(along)(a), grad(literal)(a)
    # The Gram matrix squares the condition number, the derivative of a quotient has one more.
    condition = torch.linalg.cond(
        matrices(c, c.action.act(c.action.group.exp(a), c.parameters, c.data))[4]
    ).item()
    assert_close(slope, want, rtol=0, atol=8 * 6**1.5 * EPS * condition**3 * want.norm().item())


@pytest.mark.parametrize("name", FORMS)
def test_first_and_second_derivatives(name):
    c = case("fewer", FORMS[name])

    def along(a: Tensor, w1: Tensor) -> tuple[Tensor, ...]:
        moved = c.action.act(c.action.group.exp(a), c.parameters | {"w1": w1}, c.data)
        return moved["w1"], moved["w2"]

    at = [0.1 * torch.randn(6, 6, dtype=torch.float64), c.parameters["w1"].clone()]
    at = [t.requires_grad_() for t in at]
    assert torch.autograd.gradcheck(along, at, fast_mode=True)
    assert torch.autograd.gradgradcheck(along, at, fast_mode=True)


def test_derivative_of_a_derivative_under_vmap():
    c = case("as many samples as units")

    def height(a: Tensor) -> Tensor:
        return c.action.act(element(c.action, a, 2.0), c.parameters, c.data)["w2"].square().sum()

    def slope_length(a: Tensor) -> Tensor:
        return grad(height)(a).square().sum()

    a = 0.1 * torch.randn(3, 6, 6, dtype=torch.float64)
    got = vmap(grad(slope_length))(a)
    d, h = torch.randn(6, 6, dtype=torch.float64), 1e-5
    for i in range(3):
        central = (slope_length(a[i] + h * d) - slope_length(a[i] - h * d)) / (2 * h)
        # Rounding of the two values over 2 h, and h^2 times a third derivative of their size.
        assert_close((got[i] * d).sum(), central, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_second_derivatives_are_the_same_forward_and_backward(shape):
    """`torch.linalg.solve` differentiated forward twice would give half of a term."""
    c = case(shape)
    a = 0.1 * torch.randn(6, 6, dtype=torch.float64)

    def height(t: Tensor) -> Tensor:
        return c.action.act(element(c.action, t * a, 2.0), c.parameters, c.data)["w2"].pow(3).sum()

    def forward(f):
        return lambda t: jvp(f, (t,), (torch.ones_like(t),))[1]

    t = torch.ones((), dtype=torch.float64)
    # The same derivative by two routes, through matrices of condition below 1e4.
    assert_close(forward(forward(height))(t), grad(grad(height))(t), rtol=1e-9, atol=0)


def test_samples_as_columns():
    c = case("fewer, with biases")
    columns = Dependent("w1", "w2", "x", LEAKY, 6, biases=("b1", "b2"), samples="columns")
    g = columns.group.sample(dtype=torch.float64)
    data = {"x": c.data["x"].mT}
    assert_close(columns.act(g, c.parameters, data), c.action.act(g, c.parameters, c.data), rtol=0, atol=0)
    assert_close(columns.units(c.parameters, data), matrices(c)[4][:6])


def test_layer_further_up_reads_what_is_below():
    below = torch.randn(5, 2, dtype=torch.float64)

    def inputs(parameters, data):
        return LEAKY(data["z"] @ parameters["w0"].mT)

    c = case("fewer")
    z = torch.randn(4, 2, dtype=torch.float64)
    c.data["x"] = LEAKY(z @ below.mT)
    deep = Dependent("w1", "w2", inputs, LEAKY, 6)
    g = deep.group.sample(dtype=torch.float64)
    want = c.action.act(g, c.parameters, c.data)
    assert_close(deep.act(g, c.parameters | {"w0": below}, {"z": z}), want, rtol=0, atol=0)


def test_weights_keep_their_dtype_and_the_loss_stays_to_its_rounding():
    c = case("as many samples as units")
    single = {n: t.float() for n, t in c.parameters.items()}
    x = c.data["x"].float()
    g = c.action.group.sample(scale=0.2)
    moved = c.action.act(g, single, {"x": x})
    assert {t.dtype for t in moved.values()} == {torch.float32}
    c.parameters, c.data = {n: t.double() for n, t in single.items()}, {"x": x.double()}
    exact = c.action.act(g.double(), c.parameters, c.data)
    # Inside all is float64: the only rounding is that of the result.
    assert_close(moved, {n: t.float() for n, t in exact.items()}, rtol=0, atol=0)


def test_singular_activations_spoil_no_other_task():
    c = case("as many samples as units")
    x = torch.stack([c.data["x"], torch.zeros_like(c.data["x"])])
    g = c.action.group.sample(dtype=torch.float64)
    moved = vmap(lambda x: c.action.act(g, c.parameters, {"x": x}))(x)
    alone = c.action.act(g, c.parameters, c.data)
    assert_close(moved["w2"][0], alone["w2"], rtol=0, atol=rounding(c, alone))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": dependent.Rotation()}, "form must be one of Difference"),
        ({"samples": "row"}, 'must be "rows" or "columns"'),
        ({"activation": nn.GELU()}, "ACTIVATIONS; got GELU"),
        ({"activation": nn.Tanh(), "form": dependent.One()}, "inverts the activation in closed form"),
        ({"activation": nn.ReLU(), "form": dependent.One()}, "inverts the activation in closed form"),
        ({"width": 0}, "n must be a positive integer"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Dependent(
            **({"first": "w1", "second": "w2", "inputs": "x", "activation": LEAKY, "width": 6} | arguments)
        )


def test_refuses_weights_that_do_not_fit():
    c = case("fewer")
    g = c.action.group.identity(dtype=torch.float64)
    with pytest.raises(ValueError, match=r"got \(6, 5\), \(3, 6\), \(4, 5\) for h = 6"):
        c.action.act(g, c.parameters, {"x": c.data["x"].mT})
