"""Looking up rows: embeddings and advanced indexing."""

from isoloss.finding._abstract import Misfit
from isoloss.finding._calculus import freeze
from isoloss.finding._shape import drop, told_apart, unsqueeze, view
from isoloss.finding.rules._registry import Context, rule
from isoloss.finding.rules._spatial import chosen


def looked_up(c: Context, x, axis: int, rank: int, *values):
    """Axis replaced by `rank` axes of data: which index is read where is not for a group to change."""
    p = c.pass_
    for value in values:
        freeze(p, value, "it says which indices are read")
    sizes = c.shape[axis : axis + rank]
    total = 1
    for n in sizes:
        total *= n
    x = told_apart(p, x, axis, total)
    return view(p, x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


@rule("aten::embedding")
def embedding(c: Context, weight, indices, *_args):
    return looked_up(c, weight, 0, len(indices.shape), indices)


@rule("aten::index_select")
def index_select(c: Context, x, dim, index):
    known = c.constant(2)
    if known is not None:
        return chosen(c.pass_, x, dim % len(x.shape), known.tolist())
    return looked_up(c, x, dim % len(x.shape), 1, index)


@rule("aten::index", "aten::_unsafe_index")
def index(c: Context, x, indices):
    found = [i for i, v in enumerate(indices) if v is not None]
    values = [c.call.args[1][i] for i in found]
    if any(v.dtype.is_floating_point or str(v.dtype) == "torch.bool" for v in values):
        raise Misfit("a mask used as an index")
    if found != list(range(found[0], found[-1] + 1)):
        raise Misfit("indices with a gap between them")
    p, first = c.pass_, found[0]
    known = values[0].constant
    if len(found) == 1 and known is not None and known.ndim == 1:
        return chosen(p, x, first, [i % x.shape[first] for i in known.tolist()])
    for axis in found[1:]:
        x = told_apart(p, x, axis, 1)
    x = told_apart(p, x, first, 1)
    for axis in reversed(found[1:]):
        x = drop(p, x, axis)
    rank = max(len(v.shape) for v in values)
    return looked_up(c, x, first, rank, *(indices[i] for i in found))


@rule("aten::gather", "aten::take_along_dim")
def gather(c: Context, x, dim, index, **_options):
    p = c.pass_
    freeze(p, index, "it says which indices are read")
    for axis in range(len(x.shape)):
        x = told_apart(p, x, axis, c.shape[axis])
    return x


@rule("aten::diagonal")
def diagonal(c: Context, x, offset=0, dim1=0, dim2=1):
    p, rank = c.pass_, len(x.shape)
    a, b = dim1 % rank, dim2 % rank
    x = told_apart(p, told_apart(p, x, a, 1), b, 1)
    for axis in sorted((a, b), reverse=True):
        x = drop(p, x, axis)
    return told_apart(p, unsqueeze(p, x, len(x.shape)), len(x.shape), c.shape[-1])


@rule("aten::unfold")
def unfolded(c: Context, x, dim, size, step):
    p, axis = c.pass_, dim % len(x.shape)
    x = told_apart(p, x, axis, c.shape[axis])
    x = unsqueeze(p, x, len(x.shape))
    return told_apart(p, x, len(x.shape) - 1, size)


@rule("aten::im2col")
def im2col(c: Context, x, kernel, *_args):
    p = c.pass_
    x = told_apart(p, told_apart(p, x, 2, kernel[0] * kernel[1]), 3, c.shape[-1])
    return view(p, x, c.shape)
