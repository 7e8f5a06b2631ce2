"""Linear maps: matrix products, convolutions, bilinear forms, distances."""

from isoloss.finding._abstract import Misfit, Pass
from isoloss.finding._calculus import add, contract, multiply, reduce, squared
from isoloss.finding._shape import drop, permute, told_apart, unsqueeze, view
from isoloss.finding.rules._registry import Context, rule
from isoloss.finding.rules._spatial import resampled


@rule("aten::mm", "aten::mv", "aten::dot", "aten::vdot")
def mm(c: Context, x, y):
    return contract(c.pass_, x, y, [], [(len(x.shape) - 1, 0)])


@rule("aten::bmm")
def bmm(c: Context, x, y):
    return contract(c.pass_, x, y, [(0, 0)], [(2, 1)])


def _scaled_sum(c: Context, bias, product, beta):
    return product if beta == 0 else add(c.pass_, [bias, product])


@rule("aten::addmm", "aten::addmv")
def addmm(c: Context, bias, x, y, *, beta=1, alpha=1):
    return _scaled_sum(c, bias, mm(c, x, y), beta)


@rule("aten::baddbmm")
def baddbmm(c: Context, bias, x, y, *, beta=1, alpha=1):
    return _scaled_sum(c, bias, bmm(c, x, y), beta)


@rule("aten::addbmm")
def addbmm(c: Context, bias, x, y, *, beta=1, alpha=1):
    return _scaled_sum(c, bias, reduce(c.pass_, bmm(c, x, y), [0], False), beta)


@rule("aten::linear")
def linear(c: Context, x, weight, bias=None):
    y = contract(c.pass_, x, weight, [], [(len(x.shape) - 1, 1)])
    return y if bias is None else add(c.pass_, [y, bias])


@rule("aten::convolution", "aten::_convolution", "aten::mkldnn_convolution")
def convolution(
    c: Context, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *_
):
    p = c.pass_
    y = correlate(p, x, weight, groups, transposed)
    y = resampled(c, y, len(x.shape) - 2)
    return y if bias is None else add(p, [y, per_channel(p, bias, len(c.shape))])


def correlate(p: Pass, x, weight, groups: int, transposed: bool):
    """Sum over input channels and kernel: axes (batch, out channels, positions); positions are still the input's."""
    n, channels, *places = x.shape
    kernel = weight.shape[2:]
    if transposed:
        weight = view(p, weight, (groups, channels // groups, weight.shape[1], *kernel))
    else:
        weight = view(p, weight, (groups, weight.shape[0] // groups, weight.shape[1], *kernel))
        weight = permute(p, weight, [0, 2, 1, *range(3, len(weight.shape))])
    for _ in kernel:
        weight = drop(p, told_apart(p, weight, 3, 1), 3)
    if groups == 1:
        flat = view(p, weight, weight.shape[1:])
        y = contract(p, x, flat, [], [(1, 0)])
        return permute(p, y, [0, len(places) + 1, *range(1, len(places) + 1)])
    x = view(p, x, (n, groups, channels // groups, *places))
    y = contract(p, x, weight, [(1, 0)], [(2, 1)])
    y = permute(p, y, [1, 0, len(places) + 2, *range(2, len(places) + 2)])
    return view(p, y, (n, groups * weight.shape[2], *places))


def per_channel(p: Pass, vector, rank: int):
    """A vector laid along axis 1 of a tensor with so many axes."""
    return view(p, vector, (1, vector.shape[0], *(1,) * (rank - 2)))


@rule("aten::_trilinear")
def trilinear(c: Context, a, b, d, expand_a, expand_b, expand_d, summed, _unroll=1):
    p = c.pass_
    rank = len(a.shape) + len(expand_a)
    letters = [[i for i in range(rank) if i not in e] for e in (expand_a, expand_b, expand_d)]
    left, names = _product(p, a, letters[0], b, letters[1], [i for i in summed if i not in letters[2]])
    last, names = _product(p, left, names, d, letters[2], summed)
    order = sorted(range(len(names)), key=lambda i: names[i])
    return permute(p, last, order)


def _product(p: Pass, a, of_a: list[int], b, of_b: list[int], summed):
    pairs = [(of_a.index(i), of_b.index(i)) for i in of_a if i in of_b and i in summed]
    batch = [(of_a.index(i), of_b.index(i)) for i in of_a if i in of_b and i not in summed]
    y = contract(p, a, b, batch, pairs)
    names = [of_a[i] for i, _ in batch]
    names += [i for i in of_a if i not in of_b] + [i for i in of_b if i not in of_a]
    alone = [i for i in names if i in summed]
    if alone:
        y = reduce(p, y, [names.index(i) for i in alone], False)
        names = [i for i in names if i not in alone]
    return y, names


@rule("aten::_cdist_forward", "aten::_euclidean_dist")
def cdist(c: Context, x, y, order=2.0, _mode=None):
    p = c.pass_
    if order != 2.0:
        raise Misfit("only Euclidean distances are understood")
    x, y = unsqueeze(p, x, len(x.shape) - 1), unsqueeze(p, y, len(y.shape) - 2)
    total = reduce(p, squared(p, add(p, [x, y])), [len(x.shape) - 1], False)
    from isoloss.finding.rules._elementwise import HALF, elementwise

    return elementwise(p, total, HALF, None)


@rule("aten::outer", "aten::ger")
def outer(c: Context, x, y):
    return multiply(c.pass_, unsqueeze(c.pass_, x, 1), unsqueeze(c.pass_, y, 0))
