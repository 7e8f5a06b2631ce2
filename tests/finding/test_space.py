"""Index sets against index sets written out, and the matrices by which tied axes move against the matrices."""

from math import prod
from random import Random

import pytest
import torch
from torch import Tensor

from isoloss.finding._abstract import Cat, Pass, unify
from isoloss.finding._space import Hints, Level, Node, Space, Tree, locate, seen_from, tie

# ---------------------------------------------------------------- axes that are cut


def divisions(rng: Random, n: int) -> tuple[str, tuple[int, ...]] | None:
    """A way to cut n indices: a product of two or three sizes, or pieces one after another."""
    if rng.random() < 0.5:
        sizes, rest = [], n
        while rest > 1 and len(sizes) < 2:
            m = rng.choice([d for d in range(2, rest + 1) if rest % d == 0])
            sizes.append(m)
            rest //= m
        sizes += [rest] if rest > 1 else []
        return ("product", tuple(sizes)) if len(sizes) > 1 else None
    cuts = sorted(rng.sample(range(1, n), rng.randint(1, min(3, n - 1)))) if n > 1 else []
    return ("cat", tuple(b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True))) if cuts else None


@pytest.mark.parametrize("seed", range(40))
def test_blocks_of_a_parameter_tile_it(seed):
    """However its axes are cut, and cut again, every entry lies in exactly one block, whose shape is its factors'."""
    rng = Random(seed)
    shape = tuple(rng.choice([1, 4, 6, 8, 12]) for _ in range(rng.randint(1, 3)))
    hints = Hints()
    for _ in range(4):
        p = Pass(hints)
        t = p.parameter("w", shape)
        assert t.shape == shape
        entries = torch.arange(prod(shape)).reshape(shape)
        seen = [leaf.block.view(entries) for leaf in p.leaves]
        assert sorted(torch.cat([v.flatten() for v in seen]).tolist()) == list(range(prod(shape)))
        for leaf, view in zip(p.leaves, seen, strict=True):
            assert tuple(view.shape) == tuple(f.size for f in leaf.factors)
        spaces = [f.space for leaf in p.leaves for f in leaf.factors]
        for space in rng.sample(spaces, min(2, len(spaces))):
            how = divisions(rng, space.size)
            if how is not None:
                assert [s.size for s in space.pieces(*how, hints)] == list(how[1])
        hints.apply()
        assert not hints.fresh


@pytest.mark.parametrize("seed", range(40))
def test_a_tree_keeps_its_size(seed):
    """Cut at any leaf, a tree has as many indices as before; what is flat stays flat."""
    rng = Random(seed)
    tree = Tree.leaf(rng.choice([8, 12, 24]))
    for _ in range(4):
        paths = [p for p, leaf in leaves(tree) if divisions(Random(0), leaf.size)]
        if not paths:
            break
        path = rng.choice(paths)
        how = divisions(rng, dict(leaves(tree))[path].size)
        if how is None:
            continue
        size = tree.size
        tree = tree.cut(path, *how)
        assert tree.size == size == counted(tree)
        for kind, child in parents(tree):
            assert kind != child.kind


def leaves(tree: Tree, path=()):
    if not tree.children:
        yield path, tree
    for i, child in enumerate(tree.children):
        yield from leaves(child, (*path, i))


def parents(tree: Tree):
    for child in tree.children:
        yield tree.kind, child
        yield from parents(child)


def counted(tree: Tree) -> int:
    if not tree.children:
        return tree.size
    sizes = [counted(c) for c in tree.children]
    return prod(sizes) if tree.kind == "product" else sum(sizes)


def test_a_cut_is_there_from_the_start_of_the_next_pass():
    hints = Hints()
    first = Pass(hints)
    t = first.parameter("w", (6, 4))
    t.axes[0][0].space.pieces("cat", (2, 4), hints)
    assert hints.fresh
    hints.apply()
    second = Pass(hints).parameter("w", (6, 4))
    assert isinstance(second, Cat) and [part.shape for part in second.parts] == [(2, 4), (4, 4)]


def test_a_cut_axis_keeps_its_pieces():
    space, hints = Space(6, {(("tensor", "w", 0), ())}), Hints()
    pieces = space.pieces("product", (2, 3), hints)
    assert space.pieces("cat", (1, 5), hints) is pieces and hints.count == 1


# ---------------------------------------------------------------- levels and identification


def test_levels_only_fall_and_say_why():
    space = Space(4)
    space.lower(Level.ORTHOGONAL, "a norm runs along it")
    space.lower(Level.LINEAR, "nothing")
    assert (space.level, space.why) == (Level.ORTHOGONAL, "a norm runs along it")
    space.lower(Level.RIGID, "it is an output")
    space.lower(Level.PERMUTATION, "late")
    assert (space.level, space.why) == (Level.RIGID, "it is an output")


def test_pieces_fall_with_the_whole():
    space = Space(6)
    pieces = space.pieces("product", (2, 3), Hints())
    space.lower(Level.RIGID, "told apart")
    assert {s.level for s in pieces} == {Level.RIGID} and pieces[0].why == "told apart"


@pytest.mark.parametrize("seed", range(20))
def test_unified_spaces_share_the_lowest_level_and_all_origins(seed):
    """Against a partition kept as a list of sets."""
    rng, p = Random(seed), Pass(Hints())
    spaces = [Space(4, {((i,), ())}, ones=rng.random() < 0.2) for i in range(10)]
    levels = [Level.LINEAR] * 10
    ones = [s.ones for s in spaces]
    classes = [{i} for i in range(10)]
    for _ in range(12):
        i, j = rng.randrange(10), rng.randrange(10)
        if rng.random() < 0.3:
            level = rng.choice(list(Level))
            spaces[i].lower(level)
            levels[i] = min(levels[i], level)
            continue
        unify(p, spaces[i], spaces[j])
        a, b = (next(c for c in classes if k in c) for k in (i, j))
        if a is not b:
            classes.remove(b)
            a |= b
    for i in range(10):
        mine = next(c for c in classes if i in c)
        root = spaces[i].root()
        assert all((spaces[j].root() is root) == (j in mine) for j in range(10))
        assert root.level == min(levels[j] for j in mine)
        assert root.origins == {((j,), ()) for j in mine}
        assert root.ones == any(ones[j] for j in mine)


def test_spaces_that_are_cut_are_unified_piece_by_piece():
    p = Pass(Hints())
    a, b = Space(6), Space(6)
    whole = a.pieces("product", (2, 3), p.hints)
    unify(p, b, a)
    inner = b.root().cut[1]
    assert [s.root() for s in inner] == [s.root() for s in whole]
    unify(p, a, c := Space(6))
    c.lower(Level.PERMUTATION)
    assert whole[1].root().level == Level.PERMUTATION


# ---------------------------------------------------------------- matrices that move together


N, LEAVES = 3, 4


class Written:
    """The matrices themselves: each root moves by a matrix of its own, diagonals are those of four parameters."""

    def __init__(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.diagonals = torch.rand(LEAVES, N, generator=generator, dtype=torch.float64) + 0.5
        self._generator, self._roots = generator, {}

    def matrix(self, node: Node) -> Tensor:
        """D rho(g) D^-1, following the parents one by one."""
        if node.parent is None:
            if id(node) not in self._roots:
                g = torch.randn(N, N, generator=self._generator, dtype=torch.float64)
                self._roots[id(node)] = (node, g + 2 * torch.eye(N).double())
            return self._roots[id(node)][1]
        g = self.matrix(node.parent)
        return self.conjugated(g if node.turn == 1 else torch.linalg.inv(g).mT, node.powers)

    def set(self, node: Node, value: Tensor) -> None:
        """Give the root of a node the matrix by which the node moves as it should."""
        root, (turn, powers) = locate(node)
        bare = self.conjugated(value, {k: -v for k, v in powers.items()})
        self._roots[id(root)] = (root, bare if turn == 1 else torch.linalg.inv(bare).mT)

    def conjugated(self, g: Tensor, powers: dict[int, int]) -> Tensor:
        d = torch.ones(N, dtype=torch.float64)
        for leaf, power in powers.items():
            d = d * self.diagonals[leaf] ** power
        return d[:, None] * g / d


def same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-7 * b.abs().max())


def random_nodes(rng: Random) -> list[Node]:
    """Some on their own, some that hang on another behind a diagonal."""
    nodes: list[Node] = []
    for _ in range(8):
        parent = rng.choice(nodes) if nodes and rng.random() < 0.4 else None
        powers = {rng.randrange(LEAVES): rng.choice([1, -1])} if parent else {}
        nodes.append(Node(parent, rng.choice([1, -1]) if parent else 1, powers))
    return nodes


@pytest.mark.parametrize("seed", range(120))
def test_ties_say_what_the_matrices_do(seed):
    """A tie that is granted holds for any matrices at the roots; one that is refused holds for none in general; one
    that asks for a rotation holds exactly where the node named moves by a rotation."""
    rng = Random(seed)
    nodes, granted = random_nodes(rng), []
    for _ in range(10):
        a, b, dual = rng.choice(nodes), rng.choice(nodes), rng.random() < 0.5
        shared = locate(a)[0] is locate(b)[0]
        possible, rotated = tie(a, b, dual)
        assert possible or shared  # what is not yet related can always be
        if possible and rotated is None:
            granted.append((a, b, dual))
            continue
        written = Written(seed)
        for x, y, d in granted:  # what was granted before still holds
            assert holds(written, x, y, d)
        assert not holds(written, a, b, dual)
        if possible and rotated is not None:
            q = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64)).Q
            written.set(rotated, q)
            assert same(written.matrix(rotated), q) and holds(written, a, b, dual)
    written = Written(seed)
    assert all(holds(written, *t) for t in granted)


def holds(written: Written, a: Node, b: Node, dual: bool) -> bool:
    expected = written.matrix(a)
    return same(written.matrix(b), torch.linalg.inv(expected).mT if dual else expected)


@pytest.mark.parametrize("seed", range(60))
def test_places_are_the_matrices_seen_from_the_root_and_from_one_another(seed):
    rng = Random(seed)
    nodes = random_nodes(rng)
    for _ in range(6):
        tie(rng.choice(nodes), rng.choice(nodes), rng.random() < 0.5)
    written = Written(seed)
    for node in nodes:
        root, place = locate(node)
        assert root.parent is None and same(written.matrix(node), moved(written, written.matrix(root), place))
        for base in nodes:
            if locate(base)[0] is root:
                assert same(written.matrix(node), moved(written, written.matrix(base), seen_from(node, base)))


def moved(written: Written, g: Tensor, place) -> Tensor:
    turn, powers = place
    return written.conjugated(g if turn == 1 else torch.linalg.inv(g).mT, powers)


def test_a_loop_through_two_different_weights_is_refused():
    """diag(w) g diag(w)^-1 = g for all g only if w is constant."""
    a = Node()
    b = Node(a, 1, {0: 1})
    assert tie(a, b, dual=False) == (False, None)


def test_an_axis_that_meets_itself_must_be_rotated():
    """x^T x: g = g^-T; behind one weight the rotation sits in the middle, behind its square root."""
    a = Node()
    possible, rotated = tie(a, a, dual=True)
    assert possible and locate(rotated)[1] == (1, {})
    b = Node(a, 1, {0: 2})
    possible, rotated = tie(a, b, dual=True)
    assert possible and locate(rotated)[1] == (1, {0: 1})
    assert tie(Node(), a, dual=True) == (True, None)
    odd = Node(a, 1, {0: 1})
    assert tie(a, odd, dual=True)[0] is False
