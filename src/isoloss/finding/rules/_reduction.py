"""Sums, means, maxima, norms and variances along axes."""

from fractions import Fraction

from isoloss.finding._calculus import elementwise, reduce
from isoloss.finding._shape import told_apart
from isoloss.finding.rules._registry import Context, rule


def dims_of(x, dim) -> list[int]:
    """The axes that a dim argument means; none means all."""
    rank = len(x.shape)
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return list(range(rank))
    return [d % rank for d in (dim if isinstance(dim, list | tuple) else [dim])] if rank else []


@rule("aten::sum", "aten::mean", lazy=True)
def total(c: Context, x, dim=None, keepdim=False, **_options):
    return reduce(c.pass_, x, dims_of(x, dim), keepdim)


@rule("aten::amax", "aten::amin", "aten::max", "aten::min", "aten::median")
def extremum(c: Context, x, dim=None, keepdim=False, **_options):
    if not isinstance(dim, int | list | tuple | None):
        from isoloss.finding.rules._elementwise import extremum

        return extremum(c, x, dim)
    dims = dims_of(x, dim)
    if len(c.shapes) == 1:
        return reduce(c.pass_, x, dims, keepdim, "max")
    x = ordered(c, x, dims)
    y = reduce(c.pass_, x, dims, keepdim, "max")
    return [y, positions(c, y)]


def ordered(c: Context, x, dims):
    """What is to be compared along axes; if the places are asked for too, the indices of these axes have names."""
    if len(c.used) > 1 and c.used[1]:
        for d in dims:
            x = told_apart(c.pass_, x, d, x.shape[d])
    return x


def positions(c: Context, y):
    """Indices of extrema, along the axes that the extrema y have: those move with them, and no scale matters."""
    return elementwise(c.pass_, y, 0, None)


@rule("aten::linalg_vector_norm", "aten::norm")
def norm(c: Context, x, order=2, dim=None, keepdim=False, **_options):
    if order not in (2, 2.0, None):
        return reduce(c.pass_, elementwise(c.pass_, x, 1, 0), dims_of(x, dim), keepdim)
    return reduce(c.pass_, x, dims_of(x, dim), keepdim, "norm")


@rule("aten::var", "aten::std", "aten::var_mean", "aten::std_mean")
def spread(c: Context, x, dim=None, *args, keepdim=False, **_options):
    p, dims, name = c.pass_, dims_of(x, dim), c.call.op._schema.name
    y = reduce(p, elementwise(p, x, 2, 0), dims, keepdim)
    if "std" in name:
        y = elementwise(p, y, Fraction(1, 2), None)
    return [y, reduce(p, x, dims, keepdim)] if name.endswith("_mean") else y


@rule("aten::sort", "aten::topk", "aten::msort")
def sort(c: Context, x, *args, **_options):
    p, name = c.pass_, c.call.op._schema.name
    dim = args[1] if name == "aten::topk" and len(args) > 1 else next((a for a in args if type(a) is int), -1)
    axis = (-1 if name == "aten::topk" and len(args) < 2 else dim) % len(x.shape)
    x = ordered(c, x, [axis])
    y = told_apart(p, reduce(p, x, [axis], True, "max"), axis, c.shape[axis])
    return [y, positions(c, y)] if len(c.shapes) > 1 else y


@rule("aten::logsumexp")
def logsumexp(c: Context, x, dim, keepdim=False):
    return reduce(c.pass_, elementwise(c.pass_, x, None, None), dims_of(x, dim), keepdim)


@rule("aten::prod")
def product(c: Context, x, dim=None, keepdim=False, **_options):
    return reduce(c.pass_, elementwise(c.pass_, x, None, None), dims_of(x, dim), keepdim)


@rule("aten::cumsum")
def cumsum(c: Context, x, dim, **_options):
    axis = dim % len(x.shape)
    return told_apart(c.pass_, x, axis, x.shape[axis])


@rule("aten::argmax", "aten::argmin")
def argmax(c: Context, x, dim=None, keepdim=False):
    p, dims = c.pass_, dims_of(x, dim)
    for d in dims:
        x = told_apart(p, x, d, x.shape[d])
    return positions(c, reduce(p, x, dims, keepdim, "max"))
