"""Functions of each element: which are homogeneous, which are odd, which neither."""

from fractions import Fraction
from typing import Any

from isoloss.finding._abstract import Misfit
from isoloss.finding._calculus import (
    CURVED,
    elementwise,
    lower_all,
    multiply,
    pointwise,
    squared,
    sum_of,
)
from isoloss.finding._forms import plus
from isoloss.finding._shape import narrow, parts_of, resolve, view
from isoloss.finding._space import Level
from isoloss.finding._world import SMALL
from isoloss.finding.rules._registry import Context, rule

HALF = Fraction(1, 2)
# Degree (None: none) and parity (1 odd, 0 even, None neither).
TABLE: dict[tuple[Fraction | int | None, int | None], str] = {
    (1, None): "relu leaky_relu rrelu_with_noise",
    (1, 0): "abs",
    (0, 1): "sign sgn",
    (HALF, None): "sqrt",
    (-HALF, None): "rsqrt",
    (-1, 1): "reciprocal",
    (2, 0): "square",
    (None, 1): "tanh sin asin atan sinh asinh atanh erf tan erfinv round trunc frac softshrink hardshrink",
    (None, 0): "cos cosh sinc",
    (
        None,
        None,
    ): "exp exp2 expm1 log log1p log2 log10 sigmoid gelu silu elu selu celu softplus mish hardswish "
    "hardsigmoid acos erfc logit log_sigmoid_forward floor ceil lgamma digamma "
    "isnan isinf isfinite nan_to_num special_expit threshold",
}


def _register(degree, parity, name: str) -> None:
    @rule(f"aten::{name}")
    def apply(c: Context, x, *_args, **_options):
        y = elementwise(c.pass_, x, degree, parity)
        return [y] * len(c.shapes) if len(c.shapes) > 1 else y


for (_degree, _parity), _names in TABLE.items():
    for _name in _names.split():
        _register(_degree, _parity, _name)


@rule("aten::neg", "aten::alias", "aten::detach", "aten::clone", "aten::contiguous", "aten::lift_fresh")
@rule("aten::_to_copy", "aten::lift", "aten::to", "aten::_conj", "aten::resolve_conj", "aten::positive")
def same(c: Context, x, *_args, **_options):
    return x


@rule("aten::_softmax", "aten::_log_softmax", "aten::_safe_softmax")
def softmax(c: Context, x, dim, *_args):
    p = c.pass_
    y = elementwise(p, x, None, None)
    for d in parts_of(y):
        p.pooled([f for a, axis in enumerate(d.axes) if a != dim % len(x.shape) for f in axis])
    return y


@rule("aten::glu")
def glu(c: Context, x, dim=-1):
    p, axis = c.pass_, dim % len(x.shape)
    half = x.shape[axis] // 2
    gate = elementwise(p, narrow(p, x, axis, half, half), None, None)
    return multiply(p, narrow(p, x, axis, 0, half), gate)


@rule("aten::native_dropout")
def dropout(c: Context, x, *_args):
    return [x, c.pass_.data((*c.key, "mask"), c.shapes[1], range(len(c.shapes[1])))]


@rule("aten::pow", lazy=True)
def power(c: Context, x, exponent):
    if not isinstance(exponent, int | float):
        return _unlike(c, x, exponent)
    if exponent == 2:
        return squared(c.pass_, x)
    return _to_power(c, resolve(x), exponent)


def _to_power(c: Context, x, exponent):
    degree = Fraction(exponent).limit_denominator(64)
    if float(degree) != exponent or isinstance(x, int | float):
        return _unlike(c, x, exponent)
    return elementwise(c.pass_, x, degree, degree.numerator % 2 if degree.denominator == 1 else None)


def _unlike(c: Context, *args):
    """A function of several tensors with no degree and no parity."""

    def combine(p, tensors, table):
        lower_all(tensors, Level.PERMUTATION, CURVED)
        for t in tensors:
            p.scale.demand(t.scale or {})
            p.sign.demand(t.sign or {})
        return {}, {}

    tensors = [a for a in args if not isinstance(a, int | float | bool | None)]
    return pointwise(c.pass_, tensors, combine)


for _name in "logaddexp logical_and logical_or logical_xor logical_not".split():
    rule(f"aten::{_name}")(_unlike)
for _name in "bitwise_and bitwise_or bitwise_xor bitwise_not isin".split():
    rule(f"aten::{_name}")(_unlike)


@rule("aten::maximum", "aten::minimum", "aten::fmax", "aten::fmin")
def extremum(c: Context, x, y):
    return pointwise(c.pass_, [x, y], _ordered)


def _ordered(p, tensors, table):
    """Homogeneous of degree one in all its arguments together, of no parity."""
    scale = _alike(p, tensors)
    for t in tensors:
        p.sign.demand(t.sign or {})
    return scale, None if scale is None else {}


def _alike(p, tensors):
    """Tensors that a nonlinear function takes together scale alike, by the form returned."""
    lower_all(tensors, Level.PERMUTATION, CURVED)
    live = [t for t in tensors if t.scale is not None]
    for t in live:
        p.scale.demand(plus(live[0].scale, t.scale, -1))
    return live[0].scale if live else None


@rule("aten::atan2")
def angle(c: Context, y, x):
    """Of degree zero in both together, odd in the first."""

    def combine(p, tensors, table):
        sign = tensors[0].sign or {}
        _alike(p, tensors)
        p.sign.demand(tensors[1].sign or {})
        return {}, sign

    return pointwise(c.pass_, [y, x], combine)


@rule("aten::fmod", "aten::remainder")
def rest(c: Context, x, y):
    """What a division leaves: of degree one in both together. fmod is odd in the first, remainder only in both."""
    odd_in_first = c.call.op._schema.name.startswith("aten::fmod")
    if isinstance(y, int | float):
        return elementwise(c.pass_, x, None, 1 if odd_in_first else None)
    if isinstance(x, int | float):
        return _unlike(c, y)

    def combine(p, tensors, table):
        scale, signs = _alike(p, tensors), [t.sign or {} for t in tensors]
        if not odd_in_first:
            p.sign.demand(plus(signs[0], signs[1], -1))
        return scale, signs[0]

    return pointwise(c.pass_, [x, y], combine)


@rule("aten::xlogy")
def xlogy(c: Context, x, y):
    if isinstance(y, int | float):
        return x
    if isinstance(x, int | float):
        return _unlike(c, y)
    return multiply(c.pass_, x, elementwise(c.pass_, y, None, None))


@rule("aten::eq", "aten::ne", "aten::lt", "aten::le", "aten::gt", "aten::ge")
def compare(c: Context, x, y):
    if isinstance(y, int | float):
        mask = elementwise(c.pass_, x, 0 if y == 0 else None, None)
    else:
        mask = pointwise(c.pass_, [x, y], lambda p, ts, table: (_ordered(p, ts, table), ({}, {}))[1])
    return mask


@rule("aten::clamp", "aten::clamp_min", "aten::clamp_max", "aten::hardtanh")
def clamp(c: Context, x, low=None, high=None, **options):
    low, high = options.get("min", low), options.get("max", high)
    low, high = _number(c, 1, low), _number(c, 2, high)
    name = c.call.op._schema.name.rstrip("_")
    if name == "aten::clamp_max":
        low, high = None, low
    if name == "aten::hardtanh":
        low, high = (-1.0 if low is None else low), (1.0 if high is None else high)
    numbers: list[Any] = [n for n in (low, high) if n is not None]
    if not any(isinstance(n, int | float) for n in numbers):
        return pointwise(c.pass_, [x, *numbers], _ordered)
    if not all(isinstance(n, int | float) for n in numbers):
        return _unlike(c, x, low, high)
    if all(n == 0 for n in numbers):
        return elementwise(c.pass_, x, 1, None)
    if high is None and 0 < numbers[0] <= SMALL:
        # A norm kept away from zero: of degree one wherever it is larger.
        return elementwise(c.pass_, x, 1, None)
    odd = len(numbers) == 2 and numbers[0] == -numbers[1]
    return elementwise(c.pass_, x, None, 1 if odd else None)


def _number(c: Context, place: int, value):
    known = c.constant(place)
    return value if known is None or known.ndim else known.item()


@rule("aten::_prelu_kernel", "aten::prelu")
def prelu(c: Context, x, weight):
    def combine(p, tensors, table):
        lower_all(tensors, Level.PERMUTATION, CURVED)
        x, slope = tensors
        p.scale.demand(slope.scale or {})
        p.sign.demand(slope.sign or {})
        p.sign.demand(x.sign or {})
        return x.scale, x.sign and {}

    if len(weight.shape) == 1 and len(x.shape) > 1:
        weight = view(c.pass_, weight, (1, weight.shape[0], *(1,) * (len(x.shape) - 2)))
    return pointwise(c.pass_, [x, weight], combine)


@rule("aten::where")
def where(c: Context, condition, x=None, y=None):
    if x is None or y is None:
        raise Misfit("the indices of a mask")

    def combine(p, tensors, table):
        mask, *branches = tensors
        for column in (col for columns in table for col in columns):
            f = column[0]
            if f is not None and f.space is not None:
                f.space.lower(Level.PERMUTATION, "a mask varies along it")
        p.scale.demand(mask.scale or {})
        p.sign.demand(mask.sign or {})
        return sum_of(p, branches, [[[*column[1:]] for column in columns] for columns in table])

    numbers = [as_tensor(c, i, v) for i, v in enumerate((condition, x, y))]
    return pointwise(c.pass_, numbers, combine)


@rule("aten::masked_fill")
def masked_fill(c: Context, x, mask, value):
    return where(c, mask, value, x)


def as_tensor(c: Context, place: int, value) -> Any:
    """A number as an abstract tensor without axes; zero and infinities scale anyhow."""
    if not isinstance(value, int | float):
        return value
    free = value == 0 or value in (float("inf"), float("-inf"))
    p = c.pass_
    return p.dense((), None, None) if free else p.dense((), {}, {})


@rule("aten::zeros_like", "aten::new_zeros", "aten::zero", "aten::empty_like", "aten::new_empty")
def zeros(c: Context, *_args, **_options):
    axes = [(c.pass_.factor(n),) for n in c.shape]
    return c.pass_.dense(axes, None, None)


@rule("aten::ones_like", "aten::full_like", "aten::new_ones", "aten::new_full", "aten::fill")
def constants(c: Context, x, *_args, **_options):
    axes = [(c.pass_.factor(n),) for n in c.shape]
    zero = "full" in c.call.op._schema.name or "fill" in c.call.op._schema.name
    if zero and _args and _args[0] == 0:
        return c.pass_.dense(axes, None, None)
    return c.pass_.dense(axes, {}, {})
