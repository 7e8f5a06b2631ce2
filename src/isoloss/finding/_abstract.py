"""Abstract tensors: the axes of a tensor as products of spaces, and how the tensor scales.

An abstract tensor is either Dense, with one list of factors per axis, or a Cat of abstract tensors along an axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from math import prod

from isoloss.finding._forms import Form, System, renamed
from isoloss.finding._space import Hints, Level, Node, Space, Tree
from isoloss.symmetry import Block


class Misfit(Exception):
    """The calculus has no word for this: what the op touches must stay put."""


@dataclass(eq=False)
class Factor:
    """One factor of an axis of one tensor.

    Attributes:
        label: Names the index, for forms.
        size: Number of indices.
        space: The index set; None if the tensor does not depend on this index.
        node: How a matrix group moves it.
    """

    label: int
    size: int
    space: Space | None
    node: Node


Axes = tuple[tuple[Factor, ...], ...]


@dataclass(eq=False)
class Leaf:
    """A block of a parameter or buffer: the unknowns of the search.

    Attributes:
        index: Number of the unknown.
        name: Name of the parameter.
        block: Which part of it.
        factors: The factors of all its axes in order.
        cells: For each axis, which part of a concatenation the block is in.
        used: Has an op read it?
    """

    index: int
    name: str
    block: Block
    factors: tuple[Factor, ...]
    cells: tuple[tuple[int, ...], ...]
    used: bool = False


@dataclass(eq=False)
class Dense:
    """A tensor without inner seams.

    Attributes:
        axes: Factors of each axis, outermost first.
        scale: Its log-scale as a function of the unknowns; None for a tensor of zeros, which scales anyhow.
        sign: Its sign, over F2; None for zeros.
        leaf: The parameter block that it is, up to the order of its axes.
        pending: Pairs of factors whose elementwise product it is, by label: along an axis that is summed next this
            is an inner product, along any other a nonlinear function.
        affine: The leaves it was last multiplied with and shifted by (a norm's weight and bias).
    """

    axes: Axes
    scale: Form | None = field(default_factory=dict)
    sign: Form | None = field(default_factory=dict)
    leaf: Leaf | None = None
    pending: tuple[tuple[int, Factor, Factor], ...] = ()
    affine: tuple[int | None, int | None] = (None, None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(prod(f.size for f in axis) for axis in self.axes)

    @property
    def factors(self) -> list[Factor]:
        """Factors of all axes, in order."""
        return [f for axis in self.axes for f in axis]


@dataclass(eq=False)
class Cat:
    """Abstract tensors one after another along an axis, inside the axis' first `outer` factors.

    With outer = 0 this is torch.cat. With outer = 1 the parts alternate for every index of the first factor, as
    queries, keys and values do in a fused weight ordered by heads.
    """

    axis: int
    outer: int
    parts: list[Abstract]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        shapes = [part.shape for part in self.parts]
        return tuple(sum(s[i] for s in shapes) if i == self.axis else n for i, n in enumerate(shapes[0]))


Abstract = Dense | Cat


class Pass:
    """One run of the rules over the tape.

    Attributes:
        hints: How axes are cut.
        scale: Equations of log-scales.
        sign: Equations of signs.
        leaves: Blocks of parameters and buffers.
        seen: Spaces of every tensor: a group may vary along an index only if no tensor drops it.
        diagonals: Leaves whose values are used as a diagonal change of basis.
        gains: Leaves that tensors are multiplied with elementwise.
        shifts: Leaves that tensors are added to.
        readings: (gain, shift or None, weight): a weight that reads a tensor through an elementwise affine map.
        rotations: Nodes that may move by rotations only.
    """

    def __init__(self, hints: Hints):
        self.hints = hints
        self.scale, self.sign = System(), System(2)
        self.leaves: list[Leaf] = []
        self.seen: list[list[Space]] = []
        self.diagonals: set[int] = set()
        self.gains: set[int] = set()
        self.shifts: set[int] = set()
        self.readings: set[tuple[int, int | None, int]] = set()
        self.rotations: list[tuple[Space, Node]] = []
        self._labels = count()

    def factor(self, size: int, space: Space | None = None, node: Node | None = None) -> Factor:
        """A new factor with its own label."""
        return Factor(next(self._labels), size, space, node or Node())

    def pooled(self, factors) -> None:
        """Note that an op reduces a tensor to these factors on the way."""
        self.seen.append([f.space for f in factors if f.space is not None])

    def dense(self, axes, scale: Form | None, sign: Form | None, **marks) -> Dense:
        """A new tensor; what is known of it is noted."""
        axes = tuple(tuple(f for f in axis if f.size != 1) for axis in axes)
        self.seen.append([f.space for axis in axes for f in axis if f.space is not None])
        return Dense(axes, scale, sign, **marks)

    def data(self, key: tuple, shape: tuple[int, ...], uniform=()) -> Abstract:
        """A tensor that no group moves: an input, a constant, the result of an unknown op."""

        def make(axes, starts, cells):
            return self.dense([[f for f, _ in axis] for axis in axes], {}, {})

        return self._build([(*key, i) for i in range(len(shape))], shape, make, Level.RIGID, set(uniform))

    def parameter(self, name: str, shape: tuple[int, ...]) -> Abstract:
        """A parameter or buffer that may move."""

        def make(axes, starts, cells):
            factors = tuple(f for axis in axes for f, _ in axis)
            block = Block(starts, tuple(tuple((f.size, step) for f, step in axis) for axis in axes))
            leaf = Leaf(len(self.leaves), name, block, factors, cells)
            self.leaves.append(leaf)
            form: Form = {(leaf.index, tuple(f.label for f in factors)): 1}  # type: ignore[dict-item]
            return self.dense([[f for f, _ in axis] for axis in axes], form, dict(form), leaf=leaf)

        return self._build([("tensor", name, i) for i in range(len(shape))], shape, make, Level.LINEAR, set())

    def _build(self, keys, shape, make, level: Level, uniform: set[int]) -> Abstract:
        def items(tree: Tree, path, step):
            if tree.kind != "product":
                return [(tree, path, step)] if tree.size != 1 else []
            found = []
            for i, child in reversed(list(enumerate(tree.children))):
                found = items(child, (*path, i), step) + found
                step *= child.size
            return found

        def build(axes, starts, cells):
            for a, axis in enumerate(axes):
                for j, (tree, path, step) in enumerate(axis):
                    if tree.kind == "cat":
                        parts, at = [], 0
                        for i, child in enumerate(tree.children):
                            inner = [*axis[:j], *items(child, (*path, i), step), *axis[j + 1 :]]
                            where = tuple(s + at * step if b == a else s for b, s in enumerate(starts))
                            cell = tuple((*c, i) if b == a else c for b, c in enumerate(cells))
                            parts.append(build([*axes[:a], inner, *axes[a + 1 :]], where, cell))
                            at += child.size
                        return Cat(a, j, parts)
            made = []
            for a, axis in enumerate(axes):
                row = []
                for tree, path, step in axis:
                    if a in uniform:
                        row.append((self.factor(tree.size), step))
                        continue
                    row.append((self.factor(tree.size, Space(tree.size, {(keys[a], path)}, level)), step))
                made.append(row)
            return make(made, starts, cells)

        trees = [self.hints.tree(k, n) for k, n in zip(keys, shape, strict=True)]
        return build([items(t, (), 1) for t in trees], (0,) * len(shape), ((),) * len(shape))


def unify(p: Pass, a: Space, b: Space) -> None:
    """The two index sets are one."""
    a, b = a.root(), b.root()
    if a is b:
        return
    if a.cut is None and b.cut is not None:
        a, b = b, a
    if a.cut is not None:
        kind, pieces = a.cut
        other = b.pieces(kind, tuple(s.size for s in pieces), p.hints)
        if [s.size for s in other] == [s.size for s in pieces] and b.cut and b.cut[0] == kind:
            for x, y in zip(pieces, other, strict=True):
                unify(p, x, y)
    b.parent = a
    a.origins |= b.origins
    a.ones |= b.ones
    level, why = min(a.level, b.level), a.why if a.level <= b.level else b.why
    a.lower(level, why)


def fresh_labels(p: Pass, t: Dense, keep=frozenset()) -> Dense:
    """The same tensor with new labels, so that it can meet itself."""
    names = {f.label: p.factor(f.size, f.space, f.node) for f in t.factors if f.label not in keep}
    form = {old: new.label for old, new in names.items()}
    return Dense(
        tuple(tuple(names.get(f.label, f) for f in axis) for axis in t.axes),
        None if t.scale is None else renamed(t.scale, form),  # type: ignore[arg-type]
        None if t.sign is None else renamed(t.sign, form),  # type: ignore[arg-type]
        t.leaf,
        tuple((form.get(label, label), f, g) for label, f, g in t.pending),
        t.affine,
    )


def split(p: Pass, f: Factor, sizes: tuple[int, ...]) -> list[Factor]:
    """A factor as a product of factors."""
    if f.space is None:
        return [p.factor(n) for n in sizes]
    return [p.factor(n, s) for n, s in zip(sizes, f.space.pieces("product", sizes, p.hints), strict=True)]


def settled(p: Pass, t: Abstract) -> Abstract:
    """The tensor with factors that have been cut since replaced by their pieces."""
    if isinstance(t, Cat):
        return Cat(t.axis, t.outer, [settled(p, part) for part in t.parts])
    for a, axis in enumerate(t.axes):
        for j, f in enumerate(axis):
            cut = f.space.root().cut if f.space is not None else None
            if cut is None:
                continue
            kind, pieces = cut
            if sum(s.size for s in pieces) != f.size and kind == "cat" or f.size != _total(kind, pieces):
                raise Misfit("an axis was cut in two ways")
            if kind == "product":
                new = [p.factor(s.size, s) for s in pieces]
                return settled(p, _with_axis(t, a, (*axis[:j], *new, *axis[j + 1 :])))
            parts = [
                settled(
                    p,
                    _with_axis(
                        t, a, (*axis[:j], *([p.factor(s.size, s)] if s.size > 1 else []), *axis[j + 1 :])
                    ),
                )
                for s in pieces
            ]
            return Cat(a, j, parts)
    return t


def _total(kind: str, pieces: list[Space]) -> int:
    sizes = [s.size for s in pieces]
    return prod(sizes) if kind == "product" else sum(sizes)


def _with_axis(t: Dense, axis: int, factors) -> Dense:
    return Dense(
        (*t.axes[:axis], tuple(factors), *t.axes[axis + 1 :]), t.scale, t.sign, t.leaf, t.pending, t.affine
    )


def nest(p: Pass, axes: list[tuple[Factor, ...]]) -> list[list[Factor]]:
    """Cut axes of the same size until their factors pair up."""
    marks: set[int] = set()
    for axis in axes:
        done = 1
        for f in axis:
            done *= f.size
            marks.add(done)
    chain = sorted(marks)
    steps = []
    for small, large in zip([1, *chain], chain, strict=False):
        if large % small:
            raise Misfit(f"axes cut at {small} and {large} do not nest")
        steps.append(large // small)
    return [_stepped(p, axis, steps) for axis in axes]


def _stepped(p: Pass, axis: tuple[Factor, ...], steps: list[int]) -> list[Factor]:
    todo, result = list(steps), []
    for f in axis:
        sizes = []
        while prod(sizes) < f.size:
            sizes.append(todo.pop(0))
        result += [f] if len(sizes) == 1 else split(p, f, tuple(sizes))
    return result
