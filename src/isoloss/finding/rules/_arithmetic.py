"""Sums, products and quotients."""

from isoloss.finding._calculus import add, elementwise, multiply, squared
from isoloss.finding._shape import resolve
from isoloss.finding._world import SMALL
from isoloss.finding.rules._registry import Context, rule

# Below this an eps is lost in the rounding of float64 (RMSNorm's default is the machine epsilon).
ROUNDING = 1e-14


@rule("aten::add", "aten::sub", "aten::rsub")
def plus(c: Context, x, y, *_args, **_options):
    if isinstance(x, int | float):
        x, y = y, x
    if isinstance(y, int | float):
        return shifted(c, x, y)
    return add(c.pass_, [x, y])


def shifted(c: Context, x, number):
    """x + number: an eps if it is small and positive."""
    if abs(number) <= ROUNDING:
        return x
    return elementwise(c.pass_, x, None, None, small=0 < number <= SMALL and "add" in c.call.op._schema.name)


@rule("aten::mul", lazy=True)
def times(c: Context, x, y):
    if isinstance(y, int | float) or isinstance(x, int | float):
        return x if isinstance(y, int | float) else y
    values = [v for v in c.call.args[:2]]
    if values[0] is values[1]:
        return squared(c.pass_, resolve(x))
    return multiply(c.pass_, resolve(x), resolve(y))


@rule("aten::div")
def quotient(c: Context, x, y, **options):
    if options.get("rounding_mode"):
        odd = options["rounding_mode"] == "trunc"
        return elementwise(c.pass_, quotient(c, x, y), None, 1 if odd else None)
    if isinstance(y, int | float):
        return x
    if isinstance(x, int | float):
        return elementwise(c.pass_, y, -1, 1)
    return multiply(c.pass_, x, y, -1)


@rule("aten::floor_divide")
def floor_quotient(c: Context, x, y):
    return quotient(c, x, y, rounding_mode="floor")


@rule("aten::addcmul")
def addcmul(c: Context, x, a, b, **_options):
    return add(c.pass_, [x, multiply(c.pass_, a, b)])


@rule("aten::addcdiv")
def addcdiv(c: Context, x, a, b, **_options):
    return add(c.pass_, [x, multiply(c.pass_, a, b, -1)])


@rule("aten::lerp")
def lerp(c: Context, x, y, weight):
    change = add(c.pass_, [y, x])
    return add(c.pass_, [x, change if isinstance(weight, int | float) else multiply(c.pass_, change, weight)])
