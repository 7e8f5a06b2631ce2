"""The catalogue: every column that a translation may be made of."""

from __future__ import annotations

from collections.abc import Iterator

from isoloss.finding._abstract import Leaf
from isoloss.finding._solve import Solution
from isoloss.finding._space import Level, Space
from isoloss.finding._translations._column import LETTERS, Column, Key, Move

# So many parameters of other modules are tried as the bias behind a weight that has none.
FEW = 6


class Catalogue:
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
