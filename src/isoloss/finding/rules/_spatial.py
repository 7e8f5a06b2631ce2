"""Ops that mix positions and leave channels alone: pooling, resizing, padding."""

from isoloss.finding._abstract import Abstract, Dense, Misfit, Pass
from isoloss.finding._calculus import elementwise
from isoloss.finding._shape import FEW, cat, joined, select, told_apart, unsqueeze
from isoloss.finding._space import Level
from isoloss.finding.rules._registry import Context, rule


def resampled(c: Context, t: Abstract, axes: int) -> Abstract:
    """The last axes replaced by new ones, along which nothing moves."""
    rank = len(t.shape)
    for a in range(rank - axes, rank):
        t = told_apart(c.pass_, t, a, c.shape[len(c.shape) - rank + a])
    return t


def chosen(p: Pass, t: Abstract, axis: int, indices: list[int]) -> Abstract:
    """Some indices of an axis, in an order known beforehand: told apart, but each keeps its own scale."""
    n = t.shape[axis]
    still = isinstance(t, Dense) and all(
        f.space is None or f.space.root().level == Level.RIGID for f in t.axes[axis]
    )
    if still or max(n, len(indices)) > FEW:
        return told_apart(p, t, axis, len(indices))
    singles = [unsqueeze(p, select(p, t, axis, i), axis) for i in range(n)]
    return joined(axis, 0, [singles[i] for i in indices])


def _pool(dims: int, linear: bool):
    def apply(c: Context, x, *_args, **_options):
        y = resampled(c, x if linear else elementwise(c.pass_, x, 1, None), dims)
        # The indices name places of a channel, and move with it.
        return [y, elementwise(c.pass_, y, 0, None)] if len(c.shapes) > 1 else y

    return apply


for _n in (1, 2, 3):
    _max = _pool(_n, linear=False)
    for _name in (f"max_pool{_n}d_with_indices", f"max_pool{_n}d", f"adaptive_max_pool{_n}d"):
        rule(f"aten::{_name}")(_max)
    _mean = _pool(_n, linear=True)
    for _name in (f"avg_pool{_n}d", f"adaptive_avg_pool{_n}d", f"_adaptive_avg_pool{_n}d"):
        rule(f"aten::{_name}")(_mean)
    for _name in (f"upsample_nearest{_n}d", f"_upsample_nearest_exact{_n}d"):
        rule(f"aten::{_name}")(_mean)
    for _name in (f"reflection_pad{_n}d", f"replication_pad{_n}d"):
        rule(f"aten::{_name}")(_mean)
for _name, _n in (("upsample_linear1d", 1), ("upsample_bilinear2d", 2), ("upsample_trilinear3d", 3)):
    rule(f"aten::{_name}")(_pool(_n, linear=True))
for _name in ("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"):
    rule(f"aten::{_name}")(_pool(2, linear=True))


@rule("aten::constant_pad_nd", "aten::pad")
def constant_pad(c: Context, x, widths, value=0):
    p = c.pass_
    rank = len(x.shape)
    for i in range(len(widths) // 2):
        axis, before, after = rank - 1 - i, widths[2 * i], widths[2 * i + 1]
        if before < 0 or after < 0:
            raise Misfit("a padding that crops")
        form = None if value == 0 else {}
        blocks = []
        for n in (before, None, after):
            if n is None:
                blocks.append(x)
            elif n:
                shape = [n if a == axis else m for a, m in enumerate(x.shape)]
                blocks.append(p.dense([(p.factor(m),) for m in shape], form, form))
        x = cat(p, blocks, axis)
    return x
