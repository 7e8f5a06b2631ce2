"""Ops without a rule, rules of one's own, rules that are wrong, and what the built-in ones claim of functions."""

import re
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from isoloss.finding import _run, calculus, find, rule
from isoloss.finding.rules import LAZY, RULES, name_of
from isoloss.finding.rules._elementwise import TABLE
from isoloss.groups import Permutation, PositiveScaling
from isoloss.symmetry import Symmetries

X = torch.linspace(-1, 1, 6).reshape(2, 3)


@torch.library.custom_op("isoloss_tests::bump", mutates_args=())
def bump(x: Tensor) -> Tensor:
    """Homogeneous of degree one; nobody told the library."""
    return x.clamp(min=0.0) - 0.3 * x.clamp(max=0.0)


bump.register_autograd(
    lambda ctx, g: g * torch.where(ctx.saved_tensors[0] > 0, 1.0, -0.3),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


@torch.library.custom_op("isoloss_tests::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    """The same without a backward pass."""
    return x.clamp(min=0.0) - 0.3 * x.clamp(max=0.0)


@torch.library.custom_op("isoloss_tests::parts", mutates_args=())
def parts(x: Tensor, n: int) -> list[Tensor]:
    """Several outputs."""
    return [p.clone() for p in x.tensor_split(n, -1)]


parts.register_autograd(
    lambda ctx, gs: (torch.cat(gs, -1), None), setup_context=lambda ctx, inputs, output: None
)


@torch.library.custom_op("isoloss_tests::double_", mutates_args={"x"})
def double_(x: Tensor) -> None:
    """Writes in place."""
    x.mul_(2)


class Op(nn.Module):
    """A function as a module; by way of a lambda, for an op itself cannot be copied."""

    def __init__(self, f) -> None:
        super().__init__()
        self.f = lambda x: f(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def net(f) -> nn.Sequential:
    """A layer before, and one around, the op."""
    return nn.Sequential(
        nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6), nn.Sequential(nn.Identity(), Op(f)), nn.Linear(6, 4)
    )


def moving(found: Symmetries, name: str) -> set[str]:
    return {s.name for s in found if name in s.parameters}


@pytest.fixture(autouse=True)
def rules_put_back():
    known, lazy = dict(RULES), set(LAZY)
    yield
    RULES.clear()
    RULES.update(known)
    LAZY.clear()
    LAZY.update(lazy)


# ---------------------------------------------------------------- no rule


def test_an_unknown_op_is_left_out_by_name_and_place():
    """What it reads stays put; all else is found."""
    found = find(net(bump), X, verify="full")
    assert found.notes == ("isoloss_tests::bump in 3.1: it has no rule; what it reads stays put",)
    assert {s.name for s in found} == {"R+^5", "S_5"}
    assert moving(found, "4.weight") == set()
    assert "left out: isoloss_tests::bump in 3.1" in found.table


def test_an_unknown_op_at_the_top_is_placed_there():
    class Top(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = net(torch.relu)

        def forward(self, x: Tensor) -> Tensor:
            return bump(self.body(x))

    assert find(Top(), X).notes[0].startswith("isoloss_tests::bump in the model itself: it has no rule")


def test_an_unknown_op_on_data_costs_nothing():
    model = nn.Sequential(Op(bump), *net(torch.relu))
    found = find(model, X)
    assert found.notes == () and {s.name for s in found} == {"R+^5", "S_5", "R+^6", "S_6"}


def test_an_unknown_op_is_named_once_for_each_place():
    model = nn.Sequential(nn.Linear(3, 4), Op(lambda x: bump(bump(x))), nn.Linear(4, 4), Op(bump))
    assert [n.partition(":" + " it")[0] for n in find(model, X).notes] == [
        "isoloss_tests::bump in 1",
        "isoloss_tests::bump in 3",
    ]


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: torch.cat(parts(torch.tanh(x), 2), -1), "isoloss_tests::parts"),
        (lambda x: (double_(y := x * 1.0), y)[1], "isoloss_tests::double"),
    ],
    ids=["several outputs", "in place"],
)
def test_unknown_ops_of_any_kind(f, name):
    found = find(net(f), X)
    assert len(found.notes) == 1 and found.notes[0].startswith(name)
    assert {s.name for s in found} == {"R+^5", "S_5"}


def test_an_op_without_a_backward_pass():
    """The search for translations takes gradients; without them it is left out, not broken."""
    found = find(net(opaque), X)
    assert {s.name for s in found} == {"R+^5", "S_5"}


def test_a_model_that_cannot_be_trained():
    """It overwrites what its backward pass would need: no matter, it is only run."""

    def f(x: Tensor) -> Tensor:
        y = x.exp()
        z = y * y
        y.zero_()
        return z + y

    assert {"R+^5", "S_5"} <= {s.name for s in find(net(f), X)}


# ---------------------------------------------------------------- rules of one's own


def homogeneous(c, x):
    return calculus.elementwise(c.pass_, x, scale=1, sign=None)


@pytest.mark.parametrize(
    "how",
    ["isoloss_tests::bump", torch.ops.isoloss_tests.bump, torch.ops.isoloss_tests.bump.default],
    ids=str,
)
def test_a_rule_of_ones_own(how):
    """By name, packet or overload."""
    rule(how)(homogeneous)
    found = find(net(bump), X, verify="full")
    assert found.notes == ()
    assert moving(found, "4.weight") == {"R+^6", "S_6"}
    assert max(s.error for s in found) <= 1e-10


def test_a_rule_serves_the_op_in_place_too():
    """relu and relu_ are one op to a rule."""
    assert name_of(torch.ops.aten.relu_.default) == name_of(torch.ops.aten.relu.default) == "aten::relu"
    assert name_of(torch.ops.aten.add.Tensor) == "aten::add" and name_of("odd") == "odd"
    rule("aten::relu")(lambda c, x: calculus.elementwise(c.pass_, x, scale=None, sign=None))
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 4))
    assert {s.name for s in find(model, X)} == {"S_5"}


def test_what_a_rule_is_told():
    """Shapes of the outputs, plain arguments, and the values of constants."""
    seen = {}

    @rule("isoloss_tests::parts")
    def of_parts(c, x, n):
        seen.update(shapes=c.shapes, shape=c.shape, n=n, module=c.call.module, none=c.constant(0))
        return [calculus.narrow(c.pass_, x, 1, 3 * i, 3) for i in range(n)]

    @rule("aten::mul")
    def of_mul(c, x, y):
        seen["constant"] = c.constant(1)
        return calculus.multiply(c.pass_, x, y)

    fixed = torch.tensor([2.0])
    found = find(net(lambda x: torch.cat(parts(x * fixed, 2), -1).relu()), X, verify="full")
    assert seen["shapes"] == ((2, 3), (2, 3)) and seen["shape"] == (2, 3) and seen["n"] == 2
    assert seen["module"] == "3.1" and seen["none"] is None and seen["constant"] == 2.0
    assert sum(s.dim for s in found if "4.weight" in s.parameters) == 6


def test_the_example_of_the_docstring():
    """An odd function: signs."""

    @rule("isoloss_tests::bump")
    def odd(c, x):
        return calculus.elementwise(c.pass_, x, scale=None, sign=1)

    found = find(net(bump), X)
    # bump is not odd, so that the rule is wrong; verification says so, and the permutations stay.
    assert moving(found, "4.weight") == {"S_6"}
    (note,) = found.notes
    assert note.startswith("sign Z2^6 on 2.weight, 2.bias, 4.weight: the outputs changed by ")
    assert note.endswith("more than 1e-10; it is not a symmetry here")


@pytest.mark.parametrize("verify", ["sample", "full", True])
def test_a_wrong_rule_is_found_out(verify):
    """It claims too much: the claim is tried, and reported."""
    rule("isoloss_tests::bump")(lambda c, x: calculus.elementwise(c.pass_, x, scale=2, sign=None))
    found = find(net(bump), X, verify=verify)
    assert moving(found, "4.weight") == {"S_6"} and "it is not a symmetry here" in found.notes[0]
    assert moving(find(net(bump), X, verify=False), "4.weight") == {"R+^6", "S_6"}


# ---------------------------------------------------------------- rules that fail


def raises(c, x):
    raise KeyError("oops")


def misfit(c, x):
    raise calculus.Misfit("only even widths have a rule")


BROKEN = {
    "raises": (raises, r"its rule failed \(KeyError: 'oops'\)"),
    "misfit": (misfit, "only even widths have a rule"),
    "nothing": (lambda c, x: None, r"its rule failed \(.*\)"),
    "no outputs": (lambda c, x: [], r"its rule gives shapes \[\] for \[\(2, 6\)\]"),
    "a number": (lambda c, x: 3, r"its rule failed \(.*\)"),
    "wrong shape": (
        lambda c, x: calculus.view(c.pass_, x, (12,)),
        r"its rule gives shapes \[\(12,\)\] for \[\(2, 6\)\]",
    ),
    "wrong signature": (lambda: None, r"its rule failed \(TypeError: .*\)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_rule_that_fails_never_breaks_find(name, monkeypatch):
    """The op is left out as if it had no rule, and the note says why."""
    monkeypatch.setattr(_run, "STRICT", False)
    broken, reason = BROKEN[name]
    rule("isoloss_tests::bump")(broken)
    found = find(net(bump), X)
    (note,) = found.notes
    assert re.fullmatch(f"isoloss_tests::bump in 3.1: {reason}; what it reads stays put", note)
    assert {s.name for s in found} == {"R+^5", "S_5"}


def test_a_rule_that_fails_is_shown_in_strict_mode(monkeypatch):
    monkeypatch.setattr(_run, "STRICT", True)
    rule("isoloss_tests::bump")(raises)
    with pytest.raises(KeyError, match="oops"):
        find(net(bump), X)


def test_left_out_is_logged(caplog):
    caplog.set_level("INFO", "isoloss.finding")
    find(net(bump), X)
    assert any("left out: isoloss_tests::bump in 3.1" in m for m in caplog.messages)


# ---------------------------------------------------------------- what the rules claim of elementwise functions


SPECIAL = {
    "rrelu_with_noise": lambda x: torch.ops.aten.rrelu_with_noise(x, torch.zeros_like(x), 0.1, 0.3, False),
    "threshold": lambda x: torch.threshold(x, 0.3, 0.1),
    "log_sigmoid_forward": lambda x: torch.ops.aten.log_sigmoid_forward(x)[0],
    "logit": lambda x: torch.logit(x, eps=1e-6),
}
CLAIMS = [(name, degree, parity) for (degree, parity), names in TABLE.items() for name in names.split()]
ON_NUMBERS = {"isnan", "isinf", "isfinite", "nan_to_num"}
POINTS = torch.tensor([0.11, 0.23, 0.37, 0.61, 0.83, 1.3, 2.7, 5.2], dtype=torch.float64)


def value(name: str, x: Tensor) -> Tensor:
    f = SPECIAL.get(name) or getattr(torch.ops.aten, name)
    return f(x).double()


@pytest.mark.parametrize(("name", "degree", "parity"), CLAIMS, ids=[n for n, _, _ in CLAIMS])
def test_degrees_and_parities_are_those_of_the_function(name, degree, parity):
    """f(s x) = s ** degree f(x) for s > 0, f(-x) = f(x) or -f(x); and where none is claimed, there is none."""
    x = torch.cat([POINTS, -POINTS])
    y, scaled, turned = value(name, x), value(name, 1.7 * x), value(name, -x)
    if degree is not None:
        assert_close(scaled, 1.7 ** float(degree) * y, equal_nan=True)
    else:
        at = y.isfinite() & scaled.isfinite() & ((y != 0) | (scaled != 0))
        power = (scaled / y)[at].abs().log()
        # Indicators are constant on numbers, and numbers stay numbers: no one asks for their scale.
        assert not at.any() or not float(power.max() - power.min()) < 1e-6 or name in ON_NUMBERS
    if parity is not None:
        assert_close(turned, y if parity == 0 else -y, equal_nan=True)
    else:
        usable = y.isfinite() & turned.isfinite()
        even, odd = (bool(((turned - s * y)[usable].abs() < 1e-9).all()) for s in (1, -1))
        assert not usable.any() or not (even or odd) or name in ON_NUMBERS


def test_the_table_is_in_rational_numbers():
    assert {type(d) for d, _ in TABLE} <= {int, Fraction, type(None)}
    assert {p for _, p in TABLE} <= {0, 1, None}
    assert all(f"aten::{name}" in RULES for name, _, _ in CLAIMS)


def test_groups_that_pass_through_an_elementwise_function():
    """Of a positive degree: scalings and permutations; of none: permutations alone."""
    for f, groups in ((torch.abs, {PositiveScaling, Permutation}), (torch.sigmoid, {Permutation})):
        model = nn.Sequential(nn.Linear(3, 5), Op(f), nn.Linear(5, 4))
        found = {type(s.group) for s in find(model, X)}
        assert groups <= found and (PositiveScaling in found) == (PositiveScaling in groups)
