"""Spaces: the index sets on which a group may act, what is known of them, and which are the same.

An axis of a tensor is a product of spaces. Ops identify spaces (the rows of one weight are the columns of the
next), cut them (views, splits) and lower their level (a matrix group does not pass through a ReLU).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from math import prod

Path = tuple[int, ...]
Origin = tuple[tuple, Path]


class Level(IntEnum):
    """The largest group that may act on a space."""

    RIGID = 0
    PERMUTATION = 1
    ORTHOGONAL = 2
    LINEAR = 3


@dataclass(frozen=True)
class Tree:
    """How an axis is cut: a leaf, a product of axes (outermost first) or axes one after another."""

    kind: str
    size: int
    children: tuple["Tree", ...] = ()

    @classmethod
    def leaf(cls, n: int) -> "Tree":
        """An axis that nothing has cut."""
        return cls("leaf", n)

    @classmethod
    def product(cls, children) -> "Tree":
        """Axes nested in one another; products of products are flattened."""
        flat = [c for child in children for c in (child.children if child.kind == "product" else (child,))]
        flat = [c for c in flat if c.size != 1]
        return flat[0] if len(flat) == 1 else cls("product", prod(c.size for c in flat), tuple(flat))

    @classmethod
    def cat(cls, children) -> "Tree":
        """Axes one after another; concatenations of concatenations are flattened."""
        flat = [c for child in children for c in (child.children if child.kind == "cat" else (child,))]
        return flat[0] if len(flat) == 1 else cls("cat", sum(c.size for c in flat), tuple(flat))

    def cut(self, path: Path, kind: str, sizes: tuple[int, ...]) -> "Tree":
        """The tree with the leaf at a path cut; a concatenation takes the factors behind it along."""
        return self._cut(path, kind, sizes)

    def _cut(self, path: Path, kind: str, sizes: tuple[int, ...]) -> "Tree":
        if not path:
            pieces = [Tree.leaf(n) for n in sizes]
            return Tree.product(pieces) if kind == "product" else Tree.cat(pieces)
        i, rest = path[0], path[1:]
        if self.kind == "product" and kind == "cat" and not rest:
            behind = self.children[i + 1 :]
            pieces = [Tree.product([Tree.leaf(n), *behind]) for n in sizes]
            return Tree.product([*self.children[:i], Tree.cat(pieces)])
        children = list(self.children)
        children[i] = children[i]._cut(rest, kind, sizes)
        return Tree.product(children) if self.kind == "product" else Tree.cat(children)


@dataclass(eq=False)
class Space:
    """An index set; spaces that ops have identified share a root.

    Attributes:
        size: Number of indices.
        origins: Where it was born: (key of an axis, path in the tree of that axis).
        level: The largest group that may still act on it.
        ones: Must a matrix group fix the vector of ones (LayerNorm)?
        cut: How it has been cut in this pass: ("product" or "cat", the pieces).
        why: What lowered its level last.
    """

    size: int
    origins: set[Origin] = field(default_factory=set)
    level: Level = Level.LINEAR
    ones: bool = False
    parent: "Space | None" = None
    cut: "tuple[str, list[Space]] | None" = None
    why: str = ""
    serial: int = field(default_factory=count().__next__)

    def root(self) -> "Space":
        """The representative of all spaces identified with this one."""
        space = self
        while space.parent is not None:
            space = space.parent
        walk = self
        while walk.parent is not None:
            walk.parent, walk = space if walk is not space else None, walk.parent
        return space

    def lower(self, level: Level, why: str = "") -> None:
        """Let no larger group than this act on it."""
        root = self.root()
        if level < root.level:
            root.level, root.why = level, why
        if root.cut is not None:
            for piece in root.cut[1]:
                piece.lower(level, why)

    def pieces(self, kind: str, sizes: tuple[int, ...], hints: "Hints") -> "list[Space]":
        """Cut it, here and wherever it was born when the pass is run again."""
        root = self.root()
        if root.cut is None:
            hints.add(root, kind, sizes)
            root.cut = (kind, [Space(n, level=root.level) for n in sizes])
        return root.cut[1]


class Hints:
    """How axes are cut: collected during a pass over the tape, applied before the next."""

    def __init__(self):
        self.trees: dict[tuple, Tree] = {}
        self._new: dict[tuple, dict[Path, tuple[str, tuple[int, ...]]]] = {}
        self.count = 0

    @property
    def fresh(self) -> bool:
        """Has this pass found cuts that the next one must begin with?"""
        return bool(self._new)

    def tree(self, key: tuple, size: int) -> Tree:
        """How the axis with this key is cut."""
        return self.trees.get(key) or Tree.leaf(size)

    def add(self, space: Space, kind: str, sizes: tuple[int, ...]) -> None:
        """Note that a space has been cut."""
        self.count += 1
        for key, path in space.origins:
            self._new.setdefault(key, {})[path] = (kind, sizes)
            self.trees.setdefault(key, Tree.leaf(space.size))

    def apply(self) -> None:
        """Cut the trees; called between passes."""
        for key, cuts in self._new.items():
            tree = self.trees[key]
            # Deepest and last first, so that no cut changes the path of another. A concatenation inside a
            # product takes what stands behind it along: cuts behind it wait for the next pass.
            cats = [p for p, (kind, _) in cuts.items() if kind == "cat" and p]
            for path in sorted(cuts, reverse=True):
                if any(path > c and path[: len(c) - 1] == c[:-1] and path[: len(c)] != c for c in cats):
                    continue
                tree = tree.cut(path, *cuts[path])
            self.trees[key] = tree
        self._new = {}


@dataclass(eq=False)
class Node:
    """The matrix by which an axis moves, relative to that of the node it hangs on.

    With g the matrix at the root, this axis moves by D g D^-1 (turn +1) or D g^-T D^-1 (turn -1), where D is a
    product of powers of diagonal parameters, written as exponents by leaf number.
    """

    parent: "Node | None" = None
    turn: int = 1
    powers: dict[int, int] = field(default_factory=dict)
    tied: bool = False


Place = tuple[int, dict[int, int]]


def locate(node: Node) -> tuple[Node, Place]:
    """The root of a node and where the node is relative to it."""
    turn, powers = 1, {}
    while node.parent is not None:
        # D_k rho_p(D_c rho_q(g) D_c^-1) D_k^-1 = D_(k + p c) rho_(p q)(g) ...
        powers = _plus(powers, node.powers, turn)
        turn *= node.turn
        node = node.parent
    return node, (turn, powers)


def tie(a: Node, b: Node, dual: bool) -> tuple[bool, Node | None]:
    """Let b move as a does, or by the contragredient of a if dual.

    Returns:
        Whether that can be; and, if only rotations can, the node that must move by a rotation.
    """
    a.tied = b.tied = True
    root_a, (turn_a, powers_a) = locate(a)
    root_b, (turn_b, powers_b) = locate(b)
    if dual:
        turn_a, powers_a = -turn_a, {k: -v for k, v in powers_a.items()}
    if root_a is root_b:
        if turn_a == turn_b:
            return powers_a == powers_b, None
        # D_b P D_b^-1 = D_a P^-T D_a^-1 says that D P D^-1 is a rotation, where D^2 = D_b / D_a.
        double = _plus(powers_b, powers_a, -1)
        half = {k: v // 2 for k, v in double.items()}
        return all(v % 2 == 0 for v in double.values()), Node(root_b, turn_b, half)
    root_a.tied = root_b.tied = True
    # D_b rho_b(g_b) D_b^-1 = D_a rho_a(g_a) D_a^-1, solved for g_b.
    root_b.parent = root_a
    root_b.turn = turn_a * turn_b
    root_b.powers = {k: v * turn_b for k, v in _plus(powers_a, powers_b, -1).items() if v}
    return True, None


def seen_from(node: Node, base: Node) -> Place:
    """How a node moves when the base moves by g: (turn, powers)."""
    _, (turn, powers) = locate(node)
    _, (turn_base, powers_base) = locate(base)
    return turn * turn_base, _plus(powers, powers_base, -turn * turn_base)


def _plus(a: dict[int, int], b: dict[int, int], factor: int) -> dict[int, int]:
    total = dict(a)
    for k, v in b.items():
        total[k] = total.get(k, 0) + factor * v
    return {k: v for k, v in total.items() if v}
