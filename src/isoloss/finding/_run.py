"""Running the rules over the tape, again and again until every axis is cut as finely as some op needs it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from isoloss.finding._abstract import Abstract, Misfit, Pass
from isoloss.finding._calculus import freeze
from isoloss.finding._shape import cat, drop, narrow, permute, resolve, select, unsqueeze, view
from isoloss.finding._space import Hints
from isoloss.finding._tape import OVERWRITE, Call, Tape, Value, values_in
from isoloss.finding.rules import LAZY, RULES, Context, name_of

log = logging.getLogger(__name__)
# Every pass cuts at least one axis more; the deepest nest seen in the zoo takes five.
PASSES = 40


def interpret(tape: Tape, movable: Collection[str]) -> tuple[Pass, list[str]]:
    """The abstract program: spaces, levels, equations, and notes on what no rule describes.

    Args:
        tape: The recorded program.
        movable: Names of the parameters and buffers that may move; the others are constants.

    Raises:
        RuntimeError: If the cuts do not settle.
    """
    hints, calls = Hints(), tape.needed()
    constants = _Constants(tape)
    for _ in range(PASSES):
        run = Run(tape, calls, hints, movable, constants)
        run.all()
        if not hints.fresh:
            return run.pass_, list(run.notes)
        hints.apply()
    raise RuntimeError(
        f"find: the axes of the model must settle within {PASSES} passes; they are still being cut; "
        "please report this model."
    )


class _Constants:
    """Which axes of constants do not matter, looked up once."""

    def __init__(self, tape: Tape):
        self._known: dict[int, tuple[tuple[int, ...], bool]] = {}
        self.tape = tape

    def of(self, value: Value) -> tuple[tuple[int, ...], bool]:
        """Axes along which a constant does not vary; is it zero?"""
        if id(value) not in self._known:
            t = value.constant
            assert t is not None
            if t.numel() == 0:
                self._known[id(value)] = (tuple(range(t.ndim)), True)
            else:
                same = tuple(i for i in range(t.ndim) if bool((t == t.narrow(i, 0, 1)).all()))
                self._known[id(value)] = (same, not bool((t != 0).any()))
        return self._known[id(value)]


class Run:
    """One pass over the tape."""

    def __init__(
        self, tape: Tape, calls: list[Call], hints: Hints, movable: Collection[str], constants: _Constants
    ):
        self.pass_ = Pass(hints)
        self.notes: dict[str, None] = {}
        self._tape, self._calls, self._movable, self._constants = tape, calls, movable, constants
        self._known: dict[int, Abstract] = {}
        self._read = {id(v) for v in tape.outputs}
        self._read.update(id(v) for call in calls for v in values_in((call.args, call.kwargs)))
        self._serial = 0

    def all(self) -> None:
        """Interpret every call, then hold the outputs fixed."""
        for call in self._calls:
            self.step(call)
        for value in self._tape.outputs:
            freeze(self.pass_, resolve(self.abstract(value)), "it is an output of the model")

    def abstract(self, value: Value) -> Abstract:
        """The abstract tensor of a value."""
        if id(value) not in self._known:
            self._known[id(value)] = self._source(value)
        return self._known[id(value)]

    def _source(self, value: Value) -> Abstract:
        p = self.pass_
        self._serial += 1
        if value.source is not None and value.source[0] == "tensor":
            name = value.source[1]
            if name in self._movable:
                return p.parameter(name, value.shape)
            return p.data(("fixed", name), value.shape)
        if value.constant is not None:
            uniform, zero = self._constants.of(value)
            if zero:
                return p.dense([(p.factor(n),) for n in value.shape], None, None)
            return p.data(("constant", self._serial), value.shape, uniform)
        return p.data(("input", self._serial), value.shape)

    def step(self, call: Call) -> None:
        """Interpret one op; what no rule describes is held fixed, with a note."""
        p, name = self.pass_, name_of(call.op)
        outputs = list(values_in(call.outputs))
        shapes = tuple(v.shape for v in outputs)
        try:
            used = tuple(id(v) in self._read for v in outputs)
            results = self._apply(call, name, Context(p, call, shapes, used))
            results = list(results) if isinstance(results, list | tuple) else [results]
            if len(results) < len(outputs) or any(
                tuple(r.shape) != v.shape for r, v in zip(results, outputs, strict=False)
            ):
                got = [tuple(r.shape) for r in results]
                raise Misfit(f"its rule gives shapes {got} for {list(shapes)}")
        except Misfit as reason:
            results = self._left_out(call, name, outputs, str(reason))
        except Exception as error:  # A rule that fails must never break a model; strict mode shows it.
            if STRICT:
                raise
            log.debug("rule %s failed", name, exc_info=True)
            results = self._left_out(
                call, name, outputs, f"its rule failed ({type(error).__name__}: {error})"
            )
        for value, result in zip(outputs, results, strict=False):
            self._known[id(value)] = result

    def _apply(self, call: Call, name: str, context: Context):
        lazy = name in LAZY
        if call.op is OVERWRITE:
            base, new, chain = call.args
            return self._overwrite(context, self.abstract(base), resolve(self.abstract(new)), chain)
        rule = RULES.get(name)
        if rule is None:
            raise Misfit("it has no rule")

        def given(x: Any) -> Any:
            if isinstance(x, Value):
                return self.abstract(x) if lazy else resolve(self.abstract(x))
            if isinstance(x, list | tuple):
                return type(x)(given(i) for i in x) if type(x) in (list, tuple) else [given(i) for i in x]
            return x

        return rule(context, *given(call.args), **{k: given(v) for k, v in call.kwargs.items()})

    def _left_out(self, call: Call, name: str, outputs: list[Value], reason: str) -> list[Abstract]:
        p = self.pass_
        if any(v.parametric for v in values_in((call.args, call.kwargs))):
            where = call.module or "the model itself"
            self.notes[f"{name} in {where}: {reason}; what it reads stays put"] = None
        for value in values_in((call.args, call.kwargs)):
            freeze(p, resolve(self.abstract(value)), f"{name}: {reason}")
        return [p.data(("op", call.index, i), v.shape) for i, v in enumerate(outputs)]

    def _overwrite(self, c: Context, base: Abstract, new: Abstract, chain: tuple) -> Abstract:
        if not chain:
            return new
        p = self.pass_
        (op, args, _kwargs, pick, shape), *rest = chain
        name, rank = name_of(op), len(base.shape)
        if pick is not None:
            raise Misfit("a write into one of several views")
        if name in ("aten::alias", "aten::detach"):
            return self._overwrite(c, base, new, tuple(rest))
        if name in ("aten::view", "aten::_unsafe_view", "aten::_reshape_alias"):
            return view(p, self._overwrite(c, view(p, base, shape), new, tuple(rest)), base.shape)
        if name in ("aten::transpose", "aten::t"):
            a, b = args if args else (0, 1)
            order = list(range(rank))
            order[a], order[b] = order[b], order[a]
            return permute(p, self._overwrite(c, permute(p, base, order), new, tuple(rest)), order)
        if name == "aten::unsqueeze":
            d = args[0] % (rank + 1)
            return drop(p, self._overwrite(c, unsqueeze(p, base, d), new, tuple(rest)), d)
        if name == "aten::select":
            d, i = args[0] % rank, args[1] % base.shape[args[0] % rank]
            part = self._overwrite(c, select(p, base, d, i), new, tuple(rest))
            return self._replaced(base, unsqueeze(p, part, d), d, i)
        if name == "aten::slice":
            given: list[Any] = [*args, *(0, None, None, 1)[len(args) :]]
            d = given[0] % rank
            start, _, step = slice(*given[1:]).indices(base.shape[d])
            if step == 1:
                part = self._overwrite(c, narrow(p, base, d, start, shape[d]), new, tuple(rest))
                return self._replaced(base, part, d, start)
        raise Misfit(f"a write through {name}")

    def _replaced(self, base: Abstract, part: Abstract, axis: int, start: int) -> Abstract:
        p, end = self.pass_, start + part.shape[axis]
        after = base.shape[axis] - end
        pieces = [narrow(p, base, axis, 0, start)] if start else []
        pieces += [part, *([narrow(p, base, axis, end, after)] if after else [])]
        return cat(p, pieces, axis)


# Tests set this: a rule that raises anything but Misfit is a bug.
STRICT = False
