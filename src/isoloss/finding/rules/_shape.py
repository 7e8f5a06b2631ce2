"""Views, permutations, concatenations and slices."""

from typing import Any

from isoloss.finding._abstract import Misfit
from isoloss.finding._calculus import add
from isoloss.finding._shape import (
    cat,
    common,
    cut,
    drop,
    expand,
    narrow,
    permute,
    seams,
    select,
    told_apart,
    unsqueeze,
    view,
)
from isoloss.finding.rules._registry import Context, rule
from isoloss.finding.rules._spatial import chosen


@rule("aten::view", "aten::_unsafe_view", "aten::reshape", "aten::_reshape_alias", "aten::flatten", lazy=True)
@rule("aten::unflatten", lazy=True)
def viewed(c: Context, x, *_args, **_options):
    return view(c.pass_, x, c.shape)


@rule("aten::permute", lazy=True)
def permuted(c: Context, x, dims):
    return permute(c.pass_, x, [d % len(dims) for d in dims])


@rule("aten::transpose", lazy=True)
def transposed(c: Context, x, a, b):
    order = list(range(len(x.shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return permute(c.pass_, x, order)


@rule("aten::t", "aten::numpy_T", "aten::adjoint", "aten::mT", lazy=True)
def matrix_transposed(c: Context, x):
    return transposed(c, x, -2, -1) if len(x.shape) > 1 else x


@rule("aten::unsqueeze", lazy=True)
def unsqueezed(c: Context, x, dim):
    return unsqueeze(c.pass_, x, dim % (len(x.shape) + 1))


@rule("aten::squeeze", lazy=True)
def squeezed(c: Context, x, dim=None):
    rank = len(x.shape)
    dims = range(rank) if dim is None else [d % rank for d in ([dim] if isinstance(dim, int) else dim)]
    for d in sorted(dims, reverse=True):
        if x.shape[d] == 1:
            x = drop(c.pass_, x, d)
    return x


@rule("aten::expand", "aten::broadcast_to", "aten::expand_as")
def expanded(c: Context, x, *_args, **_options):
    return expand(c.pass_, x, c.shape)


@rule("aten::copy")
def copied(c: Context, target, source, *_args):
    return expand(c.pass_, source, c.shape)


@rule("aten::repeat")
def repeated(c: Context, x, times):
    p = c.pass_
    while len(x.shape) < len(times):
        x = unsqueeze(p, x, 0)
    for axis in reversed(range(len(times))):
        if times[axis] > 1:
            shape = x.shape
            x = unsqueeze(p, x, axis)
            x = expand(p, x, (*shape[:axis], times[axis], *shape[axis:]))
            x = view(p, x, (*shape[:axis], times[axis] * shape[axis], *shape[axis + 1 :]))
    return x


@rule("aten::repeat_interleave")
def interleaved(c: Context, x, times, dim=None, **_options):
    if not isinstance(times, int):
        raise Misfit("only a constant number of repeats is understood")
    p, axis = c.pass_, (dim or 0) % len(x.shape)
    shape = x.shape
    x = expand(p, unsqueeze(p, x, axis + 1), (*shape[: axis + 1], times, *shape[axis + 1 :]))
    return view(p, x, (*shape[:axis], times * shape[axis], *shape[axis + 1 :]))


@rule("aten::cat", "aten::concatenate", "aten::concat")
def concatenated(c: Context, tensors, dim=0):
    tensors = [t for t in tensors if t.shape != (0,)]
    return cat(c.pass_, tensors, dim % len(tensors[0].shape))


@rule("aten::stack")
def stacked(c: Context, tensors, dim=0):
    axis = dim % (len(tensors[0].shape) + 1)
    return cat(c.pass_, [unsqueeze(c.pass_, t, axis) for t in tensors], axis)


@rule("aten::split", "aten::split_with_sizes", "aten::chunk", "aten::unsafe_split", "aten::unsafe_chunk")
@rule("aten::unsafe_split_with_sizes", "aten::tensor_split")
def pieces(c: Context, x, _sizes, dim=0):
    axis = dim % len(x.shape)
    sizes = tuple(s[axis] for s in c.shapes)
    if len(sizes) == 1:
        return [x]
    where = ((), sizes)
    have = seams(x, axis)
    if have is not None:
        where = common(have, where)
        assert where is not None
        return [narrow(c.pass_, x, axis, sum(sizes[:i]), n) for i, n in enumerate(sizes)]
    try:
        return cut(c.pass_, x, axis, where)
    except Misfit:
        return [narrow(c.pass_, x, axis, sum(sizes[:i]), n) for i, n in enumerate(sizes)]


@rule("aten::unbind")
def unbound(c: Context, x, dim=0):
    axis = dim % len(x.shape)
    return [select(c.pass_, x, axis, i) for i in range(x.shape[axis])]


@rule("aten::select")
def selected(c: Context, x, dim, index):
    axis = dim % len(x.shape)
    return select(c.pass_, x, axis, index % x.shape[axis])


@rule("aten::slice", "aten::narrow")
def sliced(c: Context, x, dim=0, start: Any = None, end: Any = None, step=1):
    p, axis = c.pass_, dim % len(x.shape)
    n = x.shape[axis]
    if c.call.op._schema.name == "aten::narrow":
        end = start + end
    start, end, step = slice(start, end, step).indices(n)
    if step == 1:
        return narrow(p, x, axis, start, c.shape[axis])
    if n % step or end < n - step + 1 + start % step:
        return told_apart(p, x, axis, c.shape[axis])
    x = view(p, x, (*x.shape[:axis], n // step, step, *x.shape[axis + 1 :]))
    x = narrow(p, x, axis, start // step, n // step - start // step)
    return select(p, x, axis + 1, start % step)


@rule("aten::flip")
def flipped(c: Context, x, dims):
    for d in dims:
        n = x.shape[d]
        x = chosen(c.pass_, x, d % len(x.shape), list(range(n))[::-1])
    return x


@rule("aten::roll")
def rolled(c: Context, x, shifts, dims=()):
    if not dims:
        raise Misfit("a roll of the flattened tensor")
    for s, d in zip(shifts, dims, strict=True):
        n = x.shape[d]
        x = chosen(c.pass_, x, d % len(x.shape), [(i - s) % n for i in range(n)])
    return x


@rule("aten::pixel_shuffle")
def pixel_shuffled(c: Context, x, factor):
    p, (*front, channels, h, w) = c.pass_, x.shape
    n = len(front)
    x = view(p, x, (*front, channels // factor**2, factor, factor, h, w))
    x = permute(p, x, [*range(n), n, n + 3, n + 1, n + 4, n + 2])
    return view(p, x, c.shape)


@rule("aten::pixel_unshuffle")
def pixel_unshuffled(c: Context, x, factor):
    p, (*front, channels, h, w) = c.pass_, x.shape
    n = len(front)
    x = view(p, x, (*front, channels, h // factor, factor, w // factor, factor))
    x = permute(p, x, [*range(n), n, n + 2, n + 4, n + 1, n + 3])
    return view(p, x, c.shape)


@rule("aten::channel_shuffle", "aten::native_channel_shuffle")
def channel_shuffled(c: Context, x, groups):
    p, (n, channels, *places) = c.pass_, x.shape
    x = view(p, x, (n, groups, channels // groups, *places))
    x = permute(p, x, [0, 2, 1, *range(3, len(x.shape))])
    return view(p, x, c.shape)


@rule("aten::tril", "aten::triu")
def triangular(c: Context, x, _diagonal=0):
    p, rank = c.pass_, len(x.shape)
    for axis in (rank - 2, rank - 1):
        x = told_apart(p, x, axis, x.shape[axis])
    return x


@rule("aten::view_as_complex")
def as_complex(c: Context, x):
    """Real and imaginary part must scale alike; they are one tensor from here on."""
    p, axis = c.pass_, len(x.shape) - 1
    return add(p, [select(p, x, axis, 0), select(p, x, axis, 1)])


@rule("aten::view_as_real", "aten::_view_as_real")
def as_real(c: Context, x):
    p, axis = c.pass_, len(x.shape)
    return expand(p, unsqueeze(p, x, axis), (*x.shape, 2))
