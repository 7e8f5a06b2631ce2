"""Translations: shifts of parameters that a network does not see.

A bias slides along a linear path into the next bias; a softmax or a LayerNorm does not see a uniform shift; what a
LayerNorm has annihilated, its readers may add; a low-rank branch moves into the weight beside it; keys need no
bias. Each is a linear relation among small *columns*: gradients of parameter blocks, summed along an axis or passed
through another weight. Columns that share an index set are stacked over random points, and their relations read off.

References:
    Dissertation, Example 1.2.2 (translations of linear paths) and Example 1.2.8 (softmax); the others are listed in
    docs/catalogue.md with their derivation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import torch
from torch import Tensor

from isoloss.finding._abstract import Leaf
from isoloss.finding._gradients import random_gradients
from isoloss.finding._solve import Solution
from isoloss.finding._space import Level, Space
from isoloss.finding._verify import Verifier
from isoloss.groups import Translation
from isoloss.symmetry import Operand, Shift, Symmetry

Key = tuple[Space, ...]
Values = dict[str, Tensor]
Move = tuple[Leaf, str, tuple[tuple[Leaf, int], ...], float]
# A gradient in float64 carries some thirteen digits; a relation that holds to nine is not an accident.
ZERO = 1e-9
# Relations among so many columns are told from accidents by at least so many more rows.
MARGIN = 6
# Two columns are one if they agree to this, relative to their size.
SAME = 1e-7
# A gradient this much smaller than the largest is rounding.
NOTHING = 1e-13
# Entries of a column that are looked at, if it has more.
SAMPLE = 8192
# So many parameters of other modules are tried as the bias behind a weight that has none.
FEW = 6
# Random points: as many as relations need where a pass is cheap, one where a thousand rows come with it.
FEW_DRAWS, MOST = 2, 96
SMALL_MODEL, LARGE_MODEL = 100_000, 50_000_000
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(eq=False)
class Column:
    """A family of directions in parameter space, indexed by spaces, and its inner products with a gradient.

    Attributes:
        key: The index spaces of the translation.
        moves: For each block that moves: leaf, equation, operands, factor.
        whole: Do they shift one block by anything whatever?
        alone: Is it invisible or nothing, in no relation with others?
    """

    key: Key
    moves: list[Move]
    whole: bool = False
    alone: bool = False

    @property
    def leaf(self) -> Leaf:
        """The first block that moves."""
        return self.moves[0][0]

    def shifts(self, factor: float) -> Iterator[Shift]:
        """Its directions as shifts, times a factor."""
        for leaf, equation, operands, own in self.moves:
            inputs, output = equation.split("->")
            index, *rest = inputs.split(",")
            equation = ",".join([index or "z", *rest]) + "->" + output
            passed = tuple(Operand(o.name, o.block, power) for o, power in operands)
            yield Shift(leaf.name, leaf.block, equation, passed, _plain(own * factor))


def translations(solution: Solution, verifier: Verifier) -> tuple[list[Symmetry], list[str]]:
    """All translations of the catalogue, and a note if they could not be searched for.

    Args:
        solution: Spaces and parameter blocks.
        verifier: The copy of the model, which is moved to other points on the way.
    """
    catalogue = _Columns(solution)
    columns = list(catalogue.all())
    blocks = [x for x in catalogue.leaves if len(x.cells) > 1 or x.index in solution.p.gains]
    unseen = {x.index for x in blocks}
    groups: dict[Key, list[int]] = {}
    for i, column in enumerate(columns):
        groups.setdefault(column.key, []).append(i)
    rows: list[list[Tensor]] = []
    invisible = set(range(len(columns)))
    size = sum(t.numel() for t in verifier.tensors.values())
    for n in range(_draws(groups, MOST) if size <= SMALL_MODEL else FEW_DRAWS if size <= LARGE_MODEL else 1):
        if n:
            verifier.perturb()
        # Inputs of several sizes reach both sides of more units; much larger ones would drown a radial basis.
        verifier.vary(10 ** (float(torch.rand((), generator=verifier.random)) - 0.5))
        try:
            draw = _drawn(columns, verifier)
            if draw is None:
                return [], ["translations: they are found from gradients, and those are not finite"]
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return [], [f"translations: they are found from gradients, and the model has none ({reason})"]
        finally:
            verifier.return_to_examples()
        rows.append(draw.values)
        invisible &= draw.invisible()
        unseen &= draw.unseen(blocks)
    print(
        "UNSEEN",
        [(x.name, x.block.start) for x in blocks if x.index in unseen],
        "HELD",
        [(x.name, x.block.start) for x in solution.leaves if x.index in solution.held],
    )
    hidden = set(invisible)
    # In training, running statistics do not enter the outputs; that is no symmetry of the network.
    buffers = {n for n, _ in verifier.twin.named_buffers()}
    invisible -= {i for i in invisible if columns[i].leaf.name in buffers}
    whole = {columns[i].leaf.index for i in invisible if columns[i].whole}
    found = [
        _symmetry(columns, {i: 1.0})
        for i in sorted(invisible)
        if columns[i].whole or columns[i].alone or columns[i].leaf.index not in whole
    ]
    direct: list[dict[int, float]] = []
    for key, members in sorted(groups.items(), key=lambda item: -len(item[0])):
        members = [i for i in members if i not in hidden and not columns[i].alone]
        if len(members) < 2 or len(rows) * prod(s.size for s in key) < len(members) + MARGIN:
            continue
        stacked = torch.stack([torch.cat([r[i] for r in rows]) for i in members], 1)
        for relation in relations(stacked):
            named = {members[k]: c for k, c in relation.items()}
            if _implied(columns, named, direct):
                continue
            found.append(_symmetry(columns, named))
            if all(columns[i].whole for i in named):
                direct.append({columns[i].leaf.index: c for i, c in named.items()})
    return found, []


def _drawn(columns: list[Column], verifier: Verifier) -> Draw | None:
    """One random point, with the inputs there or else with the examples; None if no gradient is finite."""
    draw = Draw(columns, verifier.tensors)
    if random_gradients(verifier, draw.visit):
        return draw
    verifier.return_to_examples()
    draw = Draw(columns, verifier.tensors)
    return draw if random_gradients(verifier, draw.visit) else None


def relations(columns: Tensor) -> Iterator[dict[int, float]]:
    """Each column that is a combination of the independent ones before it, as the combination that vanishes.

    Args:
        columns: Shape (rows, columns).
    """
    unit = columns / columns.norm(dim=0)
    rows, count = columns.shape
    frame, triangle = columns.new_zeros(rows, count), columns.new_zeros(count, count)
    basis: list[int] = []
    for k in range(count):
        n = len(basis)
        along = frame[:, :n].T @ unit[:, k]
        rest = unit[:, k] - frame[:, :n] @ along
        # Gram and Schmidt twice is enough.
        more = frame[:, :n].T @ rest
        rest, along = rest - frame[:, :n] @ more, along + more
        size = float(rest.norm())
        if size > SAME:
            frame[:, n], triangle[:n, n], triangle[n, n] = rest / size, along, size
            basis.append(k)
        elif n and _told(columns, k, basis):
            fit = torch.linalg.solve_triangular(triangle[:n, :n], along[:, None], upper=True)[:, 0]
            fit = fit * columns[:, k].norm() / columns[:, basis].norm(dim=0)
            share = fit * columns[:, basis].norm(dim=0) / columns[:, k].norm()
            chosen = [j for j, c in enumerate(share.tolist()) if abs(c) > SAME]
            yield {k: 1.0} | {basis[j]: -float(fit[j]) for j in chosen}


def _told(columns: Tensor, k: int, basis: list[int]) -> bool:
    """Are there more rows in which a column is not zero than columns that share them? A dead unit gives zeros."""
    live = columns[columns[:, k] != 0]
    sharing = int((live[:, basis] != 0).any(0).sum())
    return live.shape[0] >= sharing + MARGIN


class Draw:
    """Inner products of the directions of all columns with the gradients of one random point.

    Attributes:
        values: Of every column, flat; of large ones every so many entries, for a relation among whole matrices
            shows in a few thousand of them.
    """

    def __init__(self, columns: list[Column], tensors: Values):
        self._tensors = tensors
        self.values = [
            torch.zeros(-(-size // (size // SAMPLE + 1)), dtype=torch.float64)
            for size in (prod(s.size for s in c.key) for c in columns)
        ]
        # How large each would be if nothing cancelled.
        self._sizes = [0.0] * len(columns)
        self._largest = 0.0
        self._norms: dict[int, float] = {}
        self._moves: dict[str, list[tuple[int, Move]]] = {}
        for i, column in enumerate(columns):
            for move in column.moves:
                self._moves.setdefault(move[0].name, []).append((i, move))
        self._blocks: dict[tuple, tuple[Tensor, float]] = {}

    def visit(self, name: str, gradient: Tensor, largest: float) -> None:
        """Take in the gradient of one parameter."""
        self._largest = max(self._largest, largest)
        norms = self._norms
        for i, (leaf, equation, operands, factor) in self._moves.get(name, ()):
            inputs, output = equation.split("->")
            index, *rest = inputs.split(",")
            g = leaf.block.view(gradient)
            if leaf.index not in norms:
                norms[leaf.index] = float(torch.linalg.vector_norm(g))
            size, blocks = norms[leaf.index], []
            for (o, power), letters in zip(operands, rest, strict=True):
                # Letters that only this block has (a kernel) are summed once, not for every bias behind it.
                kept = "".join(c for c in letters if c in output + index or sum(c in r for r in rest) > 1)
                block, length = self._block(o, power, letters, kept)
                blocks.append((block, kept))
                size *= length
            names = ",".join([output, *(k for _, k in blocks)])
            value = torch.einsum(f"{names}->{index}", g, *(b for b, _ in blocks)).reshape(-1)
            self.values[i].add_(value[:: value.numel() // SAMPLE + 1].cpu(), alpha=factor)
            self._sizes[i] += size

    def invisible(self) -> set[int]:
        """Columns that no gradient sees: those that cancel, and those that lie in rounding."""
        return {
            i
            for i, (value, size) in enumerate(zip(self.values, self._sizes, strict=True))
            if size <= NOTHING * self._largest or float(value.norm()) <= ZERO * size
        }

    def unseen(self, leaves: Iterable[Leaf]) -> set[int]:
        """Numbers of the blocks, of those that have columns of their own, that the outputs do not depend on at all."""
        least = NOTHING * self._largest
        return {x.index for x in leaves if self._norms.get(x.index, 0.0) <= least}

    def _block(self, leaf: Leaf, power: int, letters: str, kept: str) -> tuple[Tensor, float]:
        """A block to a power, summed over the letters not kept, and the norm before that."""
        key = (leaf.index, power, letters, kept)
        if key not in self._blocks:
            x = leaf.block.view(self._tensors[leaf.name])
            x = x if power == 1 else x**power
            self._blocks[key] = (
                x if kept == letters else torch.einsum(f"{letters}->{kept}", x),
                float(torch.linalg.vector_norm(x)),
            )
        return self._blocks[key]


def _draws(groups: dict[Key, list[int]], most: int) -> int:
    """As many random points as the groups need that can be served at all."""
    wanted = [
        -(-(len(m) + MARGIN) // max(prod(s.size for s in key), 1)) for key, m in groups.items() if len(m) > 1
    ]
    return max([FEW_DRAWS, *(n for n in wanted if n <= most)])


def _implied(columns: list[Column], relation: dict[int, float], direct: list[dict[int, float]]) -> bool:
    """Blocks summed, or passed through one weight, that cancel anyway because the blocks do."""
    if any(columns[i].whole for i in relation):
        return False
    if len({tuple(o.index for o, _ in columns[i].moves[0][2]) for i in relation}) > 1:
        return False
    mine = {columns[i].leaf.index: c for i, c in relation.items()}
    for known in direct:
        if known.keys() == mine.keys():
            ratios = [mine[k] / known[k] for k in known]
            if max(ratios) - min(ratios) <= SAME * abs(ratios[0]):
                return True
    return False


def _symmetry(columns: list[Column], relation: dict[int, float]) -> Symmetry:
    key = columns[next(iter(relation))].key
    ordered = sorted(relation.items())
    unit = ordered[0][1]
    shifts = tuple(s for i, c in ordered for s in columns[i].shifts(c / unit))
    sizes = tuple(s.size for s in key)
    return Symmetry(Translation(sizes[-1] if sizes else 1), shifts, sizes[:-1], "translation")


def _plain(c: float) -> Fraction | float:
    simple = Fraction(c).limit_denominator(64)
    return simple if abs(float(simple) - c) <= SAME * abs(c) else c


class _Columns:
    """The catalogue: every direction that a translation may be made of."""

    def __init__(self, solution: Solution):
        self._rows: dict[int, Space] = {}
        self.leaves = [x for x in solution.leaves if x.index not in solution.held]
        self._readings = solution.p.readings
        vectors = [x for x in self.leaves if len(x.cells) == 1]
        self.gains = [x for x in vectors if x.index in solution.p.gains]
        self.by_roots: dict[Key, list[Leaf]] = {}
        for x in (x for x in vectors if x.index in solution.p.shifts):
            self.by_roots.setdefault(tuple(self.roots(x)), []).append(x)

    def all(self) -> Iterator[Column]:
        """Every column."""
        yield from self.shifts()
        yield from self.sums()
        yield from self.readings()
        yield from self.passages()
        yield from self.branches()

    def shifts(self) -> Iterator[Column]:
        """A block shifted by anything: biases; and weights beside which another stands."""
        sharing: dict[Key, int] = {}
        for x in self.leaves:
            sharing[_sorted(self.roots(x))] = sharing.get(_sorted(self.roots(x)), 0) + 1
        inner = {
            r for b, a, _, r in self._branches() for r in (_sorted(self.roots(b)), _sorted(self.roots(a)))
        }
        for x in self.leaves:
            key = _sorted(self.roots(x))
            if len(x.cells) == 1 or sharing[key] > 1 or key in inner:
                yield self._column(x, range(len(x.factors)), whole=True)

    def sums(self) -> Iterator[Column]:
        """A block shifted uniformly along one factor, or one axis (softmax, LayerNorm, token and position tables)."""
        for x in self.leaves:
            axes = [_positions(x, axis) for axis in range(len(x.cells))]
            # Behind the second axis lies a kernel; a sum over it is no translation of the catalogue.
            kernel = {i for axis in axes[2:] for i in axis if self.roots(x)[i].level == Level.RIGID}
            cuts = {(i,) for i in range(len(x.factors))} | {tuple(axis) for axis in axes if axis}
            cuts = {cut for cut in cuts if not kernel.intersection(cut)}
            for summed in sorted(cuts):
                yield self._column(x, [i for i in range(len(x.factors)) if i not in summed])

    def readings(self) -> Iterator[Column]:
        """What a weighted LayerNorm has annihilated, added by a reader: W += v (1/w)^T, b -= v (1/w)^T beta."""
        by_index = {x.index: x for x in self.leaves}
        for gain, shift, weight in sorted(self._readings, key=str):
            if gain in by_index and weight in by_index and (shift is None or shift in by_index):
                yield from self._reading(
                    by_index[weight], by_index[gain], None if shift is None else by_index[shift]
                )

    def _reading(self, x: Leaf, gain: Leaf, shift: Leaf | None) -> Iterator[Column]:
        for axis in range(min(len(x.cells), 2)) if len(x.cells) > 1 else ():
            read = _positions(x, axis)
            if self.roots(gain) != self.roots(x, axis) or (
                shift is not None and self.roots(shift) != self.roots(gain)
            ):
                continue
            letters, other = _letters(x), _positions(x, 1 - axis)
            keys, names = self._index(x, [i for i in range(len(x.factors)) if i not in read])
            along = "".join(letters[i] for i in read)
            moves: list[Move] = [(x, f"{names},{along}->{letters}", ((gain, -1),), 1.0)]
            if shift is not None:
                biases = self._biases(x, 1 - axis)
                if not biases or len(x.cells) > 2:
                    continue
                out = "".join(letters[i] for i in other)
                moves.append((biases[0], f"{names},{along},{along}->{out}", ((shift, 1), (gain, -1)), -1.0))
            yield Column(keys, moves, alone=True)

    def passages(self) -> Iterator[Column]:
        """The bias behind a weight, shifted by what a translation becomes when it passes through the weight."""
        for x in self.leaves:
            for axis in range(min(len(x.cells), 2)) if len(x.cells) > 1 else ():
                letters, out, into = _letters(x), _positions(x, axis), _positions(x, 1 - axis)
                if not into:
                    continue
                alive = [i for i in into if self.roots(x)[i].level > Level.RIGID]
                # Where a weight mixes positions, a shift of all of them alike passes through as one number.
                for index in [into, *([alive] if alive != into else [])]:
                    keys, names = self._index(x, index)
                    gains = [g for g in self.gains if self.roots(g) == self.roots(x, 1 - axis)]
                    for bias in self._biases(x, axis):
                        end = "".join(letters[i] for i in out)
                        yield Column(keys, [(bias, f"{names},{letters}->{end}", ((x, 1),), 1.0)])
                        for gain in gains if len(gains) <= FEW // 2 and index == into else ():
                            along = "".join(letters[i] for i in into)
                            passed = ((x, 1), (gain, 1))
                            yield Column(keys, [(bias, f"{names},{letters},{along}->{end}", passed, 1.0)])

    def branches(self) -> Iterator[Column]:
        """A weight beside a product of two: what either of the two gains, it gives up."""
        for b, a, w, _ in self._branches():
            o, r = self.sides(b, a)
            i, _ = self.sides(a, b)
            names = dict(zip((o, r, i), "ori", strict=True))
            of_b, of_a, of_w = ("".join(names[s] for s in self.roots(x)) for x in (b, a, w))
            for moved, other, of_moved, of_other in ((b, a, of_b, of_a), (a, b, of_a, of_b)):
                key = _sorted(self.roots(moved))
                index = "".join(names[s] for s in key)
                assert len(of_moved) == len(index)
                yield Column(key, [(w, f"{index},{of_other}->{of_w}", ((other, 1),), 1.0)])

    def _branches(self) -> Iterator[tuple[Leaf, Leaf, Leaf, Space]]:
        matrices = [
            x
            for x in self.leaves
            if len(x.factors) == 2 and len(x.cells) == 2 and len(set(self.roots(x))) == 2
        ]
        by_space: dict[Space, list[Leaf]] = {}
        by_pair: dict[Key, list[Leaf]] = {}
        for x in matrices:
            by_pair.setdefault(_sorted(self.roots(x)), []).append(x)
            for s in self.roots(x):
                by_space.setdefault(s, []).append(x)
        for r, users in by_space.items():
            if r.level != Level.LINEAR or len(users) != 2:
                continue
            b, a = users
            ends = [s for x in users for s in self.roots(x) if s is not r]
            if len(set(ends)) == 2:
                for w in by_pair.get(_sorted(ends), []):
                    yield b, a, w, r

    def _biases(self, x: Leaf, axis: int) -> list[Leaf]:
        """One-dimensional parameters along an axis of a weight: those of its own module, else the few that fit."""
        fitting = self.by_roots.get(tuple(self.roots(x, axis)), []) if axis < len(x.cells) else []
        own = [v for v in fitting if _beside(v, x)]
        # In a fused layer, the bias of the same rows.
        rows = (x.block.start[axis : axis + 1], x.block.factors[axis : axis + 1])
        exactly = [v for v in own if (v.block.start, v.block.factors) == rows]
        return exactly or own or (fitting if len(fitting) <= FEW else [])

    def _column(self, x: Leaf, index, whole: bool = False) -> Column:
        keys, names = self._index(x, list(index))
        return Column(keys, [(x, f"{names}->{_letters(x)}", (), 1.0)], whole)

    def _index(self, x: Leaf, positions: list[int]) -> tuple[Key, str]:
        roots, letters = self.roots(x), _letters(x)
        if len({roots[i] for i in positions}) == len(positions):
            positions = sorted(positions, key=lambda i: roots[i].serial)
        return tuple(roots[i] for i in positions), "".join(letters[i] for i in positions)

    def roots(self, x: Leaf, axis: int | None = None) -> list[Space]:
        """The spaces of a block, or of one of its axes."""
        positions = range(len(x.factors)) if axis is None else _positions(x, axis)
        roots = [f.space.root() for f in x.factors]  # type: ignore[union-attr]
        still = [s.size for s in roots if s.level == Level.RIGID]
        # Rows that two tables look up by the same index are never compared by an op: any namesake will do.
        if len(set(still)) == len(still):
            roots = [self._rows.setdefault(s.size, s) if s.level == Level.RIGID else s for s in roots]
        return [roots[i] for i in positions]

    def sides(self, x: Leaf, other: Leaf) -> tuple[Space, Space]:
        """The space of x that the other does not have, and the one that it has."""
        shared = set(self.roots(x)) & set(self.roots(other))
        (alone,) = [s for s in self.roots(x) if s not in shared]
        (both,) = [s for s in self.roots(x) if s in shared]
        return alone, both


def _positions(x: Leaf, axis: int) -> list[int]:
    start = sum(len(x.block.factors[a]) for a in range(axis))
    return list(range(start, start + len(x.block.factors[axis])))


def _letters(x: Leaf) -> str:
    return LETTERS[: len(x.factors)]


def _sorted(roots: list[Space]) -> Key:
    return tuple(sorted(roots, key=lambda s: s.serial)) if len(set(roots)) == len(roots) else tuple(roots)


def _beside(x: Leaf, y: Leaf) -> bool:
    """Are two parameters of one module?"""
    return x.name.rpartition(".")[0] == y.name.rpartition(".")[0]
