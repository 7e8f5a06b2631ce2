"""Functions of one tensor, element by element."""

from __future__ import annotations

from fractions import Fraction

from isoloss.finding._abstract import Abstract, Dense, Pass, settled
from isoloss.finding._calculus._align import Column
from isoloss.finding._calculus._levels import CURVED, lower_all
from isoloss.finding._calculus._pointwise import pointwise
from isoloss.finding._forms import Form, times
from isoloss.finding._shape import touch
from isoloss.finding._space import Level


def elementwise(
    p: Pass, t: Abstract, scale: Fraction | int | None, sign: int | None, small: bool = False
) -> Abstract:
    """A nonlinear function of each element, homogeneous of degree `scale` (None: of no degree), of parity `sign`.

    Args:
        p: The pass.
        t: Its argument.
        scale: f(s x) = s ** scale f(x) for s > 0; None if there is no such degree.
        sign: 1 for odd, 0 for even, None for neither.
        small: It has no degree only because of an eps.
    """

    def combine(p: Pass, args: list[Dense], table: list[list[Column]]):
        lower_all(args, Level.PERMUTATION, CURVED)
        (x,) = args
        return _powered(p, x, scale, sign, small)

    return pointwise(p, [t], combine)


def _powered(p: Pass, x: Dense, scale, sign, small) -> tuple[Form | None, Form | None]:
    if scale is None and x.scale:
        p.scale.demand(x.scale, nearly=small)
    if sign is None and x.sign:
        p.sign.demand(x.sign)
    form = x.scale if small and scale is None else (None if x.scale is None else times(x.scale, scale or 0))
    if x.scale is None:
        # f(0) = 0 for odd functions and for positive degrees; otherwise it is a constant.
        return (None, None) if sign == 1 or (scale or 0) > 0 else ({}, {})
    return form or {}, (x.sign or {}) if sign == 1 else {}


def linear(p: Pass, t: Abstract, negate: bool = False) -> Abstract:
    """A multiple of each element by one constant: nothing changes."""
    touch(t)
    return settled(p, t)
