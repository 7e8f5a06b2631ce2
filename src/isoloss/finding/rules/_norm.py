"""Normalization layers and weight normalization."""

from fractions import Fraction
from typing import Any

from isoloss.finding._abstract import Abstract, Pass
from isoloss.finding._calculus import add, elementwise, lower_all, multiply, normalise, reduce
from isoloss.finding._shape import parts_of, view
from isoloss.finding._space import Level
from isoloss.finding.rules._linear import per_channel
from isoloss.finding.rules._registry import Context, rule


def affine(p: Pass, x: Abstract, weight, bias) -> Abstract:
    """x * weight + bias, either of which may be missing."""
    if weight is not None:
        x = multiply(p, x, weight)
    return x if bias is None else add(p, [x, bias])


@rule("aten::native_layer_norm")
def layer_norm(c: Context, x, shape, weight, bias, eps):
    p, rank = c.pass_, len(x.shape)
    y = normalise(p, x, list(range(rank - len(shape), rank)), eps=eps, centre=True)
    return [affine(p, y, weight, bias), *_statistics(c)]


@rule("aten::_fused_rms_norm")
def rms_norm(c: Context, x, shape, weight, eps):
    p, rank = c.pass_, len(x.shape)
    y = normalise(p, x, list(range(rank - len(shape), rank)), eps=eps or 1e-16, centre=False)
    return [affine(p, y, weight, None), *_statistics(c)]


@rule("aten::native_group_norm")
def group_norm(c: Context, x, weight, bias, n, channels, _places, groups, eps):
    p, places = c.pass_, x.shape[2:]
    y = view(p, x, (n, groups, channels // groups, *places))
    y = normalise(p, y, list(range(2, len(y.shape))), eps=eps, centre=True)
    lower_all(parts_of(y), Level.PERMUTATION, "a norm runs along its groups")
    y = view(p, y, x.shape)
    rank = len(x.shape)
    weight, bias = _optional(p, weight, rank), _optional(p, bias, rank)
    return [affine(p, y, weight, bias), *_statistics(c)]


@rule("aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::cudnn_batch_norm")
@rule(
    "aten::_native_batch_norm_legit_no_training",
    "aten::_batch_norm_with_update",
    "aten::_batch_norm_no_update",
)
def batch_norm(c: Context, x, weight, bias, *rest):
    *statistics, momentum, eps = rest
    training = statistics.pop() if isinstance(statistics[-1], bool) else "no" not in c.call.op._schema.name
    mean, var = statistics or (None, None)
    p, rank = c.pass_, len(x.shape)
    mean, var, weight, bias = (_optional(p, v, rank) for v in (mean, var, weight, bias))
    lower_all(parts_of(x), Level.PERMUTATION, "a batch norm scales its channels one by one")
    if training or mean is None:
        places = [0, *range(2, rank)]
        if mean is not None:
            _follow(p, x, mean, var, places)
        y = normalise(p, x, places, eps=eps, centre=True)
    else:
        spread = elementwise(p, var, None, None, small=True) if eps else var
        y = multiply(p, add(p, [x, mean]), elementwise(p, spread, Fraction(-1, 2), None))
    return [affine(p, y, weight, bias), *_statistics(c)]


def _optional(p: Pass, vector, rank: int) -> Any:
    return None if vector is None else per_channel(p, vector, rank)


def _follow(p: Pass, x, mean, var, places: list[int]) -> None:
    """In training the running statistics do not enter the output, but should follow what they average."""
    for average, statistic in ((x, mean), (elementwise(p, x, 2, 0), var)):
        if all(d.leaf is not None for d in parts_of(statistic)):
            add(p, [statistic, reduce(p, average, places, True)])


def _statistics(c: Context) -> list[Abstract]:
    return [c.pass_.data((*c.key, "statistics", i), shape) for i, shape in enumerate(c.shapes[1:])]


@rule("aten::_weight_norm_interface", "aten::_weight_norm")
def weight_norm(c: Context, v, g, dim=0):
    p = c.pass_
    others = [i for i in range(len(v.shape)) if i != dim % len(v.shape)]
    y = multiply(p, normalise(p, v, others, eps=0.0, centre=False), g)
    return [y, *_statistics(c)] if len(c.shapes) > 1 else y
