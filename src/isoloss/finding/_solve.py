"""From spaces and equations to symmetries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations
from math import lcm

from isoloss.finding._abstract import Leaf, Pass, unify
from isoloss.finding._forms import Elimination, Form, System, Variable, Vector, sparsest
from isoloss.finding._space import Level, Node, Space, locate, seen_from, tie
from isoloss.groups import GeneralLinear, Group, Orthogonal, Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Frame, Slot, Symmetry

Occurrence = tuple[Leaf, int]


class Solution:
    """Everything that the final pass knows, put in terms of parameter blocks.

    Attributes:
        leaves: The blocks that an op reads.
        occurrences: Where each space occurs in them.
        local: For each space, those along which its group element may vary.
        held: Blocks that the example inputs do not reach.
    """

    def __init__(self, p: Pass):
        self.p = p
        self.leaves = [leaf for leaf in p.leaves if leaf.used or _follow_sibling(p, leaf)]
        self.held = _hold_unconstrained(p, self.leaves)
        self.occurrences: dict[Space, list[Occurrence]] = {}
        for leaf in self.leaves:
            for position, f in enumerate(leaf.factors):
                assert f.space is not None
                self.occurrences.setdefault(f.space.root(), []).append((leaf, position))
        self.local = _local(p, self.occurrences)

    def slot(self, leaf: Leaf, spaces: list[Space], own: int | None, charge: Fraction, frames=()) -> Slot:
        """The slot of a block, batched along spaces, acting on the factor at position own."""
        roots = [f.space.root() for f in leaf.factors]  # type: ignore[union-attr]
        dims = tuple(roots.index(s) for s in spaces)
        return Slot(leaf.name, leaf.block, dims if own is None else (*dims, own), charge, tuple(frames))

    def symmetries(self) -> list[Symmetry]:
        """Matrix groups first, then what they do not contain of scalings, signs and permutations."""
        found: list[Symmetry] = []
        scales, signs = Elimination(), Elimination(2)
        moved: set[Space] = set()
        for space in self.occurrences:
            symmetry = self._matrix(space, scales, signs)
            if symmetry is not None:
                found.append(symmetry)
                moved.add(space)
        found += self._diagonal(self.p.scale, scales, PositiveScaling, "scaling", nearly=False)
        found += self._diagonal(self.p.scale, scales, PositiveScaling, "scaling", nearly=True)
        found += self._diagonal(self.p.sign, signs, SignFlip, "sign", nearly=False)
        for space, places in self.occurrences.items():
            if space not in moved and space.level >= Level.PERMUTATION and space.size > 1:
                found.append(self._permutation(space, places))
        return found

    def _permutation(self, space: Space, places: list[Occurrence]) -> Symmetry:
        local = self.local[space]
        slots = tuple(self.slot(leaf, local, position, Fraction(1)) for leaf, position in places)
        return Symmetry(Permutation(space.size), slots, tuple(s.size for s in local), "permutation")

    def _matrix(self, space: Space, scales: Elimination, signs: Elimination) -> Symmetry | None:
        if space.level < Level.ORTHOGONAL or space.size < 2:
            return None
        places = self._moving(space)
        rotations = [node for s, node in self.p.rotations if s.root() is space]
        if not places or (space.level == Level.ORTHOGONAL and not rotations):
            return None
        base = rotations[0] if rotations else places[0][0].factors[places[0][1]].node
        if any(seen_from(node, base)[1] for node in rotations) or (space.ones and space.size < 3):
            return None
        local = self.local[space]
        linear = space.level == Level.LINEAR
        slots, powers_read = [], set()
        for leaf, position in places:
            turn, powers = seen_from(leaf.factors[position].node, base)
            frames = self._frames(powers, leaf, position, local)
            if frames is None:
                return None
            powers_read.update(powers)
            slots.append(self.slot(leaf, local, position, Fraction(turn if linear else 1), frames))
        if powers_read & {leaf.index for leaf, _ in places}:
            return None
        group: Group = GeneralLinear(space.size) if linear else Orthogonal(space.size, fixes_ones=space.ones)
        self._count(
            places, slots, local, scales if linear else None, signs if linear or not space.ones else None
        )
        family = "linear" if linear else "rotation"
        return Symmetry(group, tuple(slots), tuple(s.size for s in local), family)

    def _moving(self, space: Space) -> list[Occurrence]:
        """The occurrences that one matrix moves; those only used as diagonals stay put."""
        by_root: dict[Node, list[Occurrence]] = {}
        for leaf, position in self.occurrences[space]:
            by_root.setdefault(locate(leaf.factors[position].node)[0], []).append((leaf, position))
        groups = [g for g in by_root.values() if not (len(g) == 1 and g[0][0].index in self.p.diagonals)]
        return groups[0] if len(groups) == 1 else []

    def _frames(self, powers: dict[int, int], leaf: Leaf, own: int, local: list[Space]) -> list[Frame] | None:
        frames = []
        by_index = {x.index: x for x in self.p.leaves}
        roots = [f.space.root() for f in leaf.factors]  # type: ignore[union-attr]
        for index, power in powers.items():
            diagonal = by_index[index]
            dims = []
            for f in diagonal.factors:
                assert f.space is not None
                s = f.space.root()
                if s is roots[own]:
                    dims.append(own)
                elif s in local:
                    dims.append(roots.index(s))
                else:
                    return None
            frames.append(Frame(diagonal.name, diagonal.block, tuple(dims), power))
        return frames

    def _count(self, places, slots: list[Slot], local: list[Space], *systems: Elimination | None) -> None:
        """Note the diagonal part of a matrix group, so that it is not reported twice."""
        for system in systems:
            if system is None:
                continue
            for size in range(len(local) + 1):
                for chosen in combinations(range(len(local)), size):
                    for own in (True, False):
                        vector: Vector = {}
                        for (leaf, _), slot in zip(places, slots, strict=True):
                            dims = [slot.dims[i] for i in chosen] + ([slot.dims[-1]] if own else [])
                            key = (leaf.index, tuple(sorted(dims)))
                            vector[key] = vector.get(key, 0) + slot.charge
                        system.add(_modulo(vector, system.modulus))

    def _diagonal(self, system: System, known: Elimination, group: type[Group], family: str, *, nearly: bool):
        by_index = {leaf.index: leaf for leaf in self.leaves}
        variables = [
            (leaf.index, chosen)
            for leaf in self.leaves
            for size in range(len(leaf.factors) + 1)
            for chosen in combinations(range(len(leaf.factors)), size)
        ]
        for v in variables:
            roots = [by_index[v[0]].factors[i].space.root() for i in v[1]]  # type: ignore[union-attr]
            if len(set(roots)) < len(roots):
                system.exact.add(((v, Fraction(1)),))
        found = []
        solutions = sparsest(system.solve(variables, nearly=nearly), system.modulus)
        for vector in sorted(solutions, key=lambda v: -len(next(iter(v))[1])):
            spaces = self._index_spaces(vector, by_index)
            if spaces is None or not known.add(dict(vector)):
                continue
            for size in range(len(spaces)):
                for chosen in combinations(spaces, size):
                    known.add(self._restricted(vector, by_index, set(chosen), known.modulus))
            found.append(self._as_symmetry(vector, spaces, by_index, group, family, exact=not nearly))
        return found

    def _index_spaces(self, vector: Vector, by_index: dict[int, Leaf]) -> list[Space] | None:
        kinds = {
            frozenset(by_index[u].factors[i].space.root() for i in positions)  # type: ignore[union-attr]
            for u, positions in vector
        }
        if len(kinds) != 1:
            return None
        return sorted(kinds.pop(), key=lambda s: s.serial)

    def _restricted(self, vector: Vector, by_index, spaces: set[Space], modulus: int | None) -> Vector:
        total: Vector = {}
        for (u, positions), c in vector.items():
            kept = tuple(i for i in positions if by_index[u].factors[i].space.root() in spaces)
            total[u, kept] = total.get((u, kept), 0) + c
        return _modulo(total, modulus)

    def _as_symmetry(
        self, vector: Vector, spaces: list[Space], by_index, group, family, *, exact: bool
    ) -> Symmetry:
        ordered = sorted(vector.items())
        unit = lcm(*(c.denominator for _, c in ordered))
        if ordered[0][1] < 0:
            unit = -unit
        slots: dict[tuple, list] = {}
        for (u, positions), c in ordered:
            leaf = by_index[u]
            roots = [leaf.factors[i].space.root() for i in positions]
            dims = tuple(positions[roots.index(s)] for s in spaces)
            slots.setdefault((leaf.name, leaf.block, dims), []).append(c * unit)
        made = tuple(
            Slot(name, block, dims, sum(cs, Fraction(0))) for (name, block, dims), cs in slots.items()
        )
        made = tuple(s for s in made if s.charge)
        sizes = tuple(s.size for s in spaces)
        return Symmetry(group(sizes[-1] if sizes else 1), made, sizes[:-1], family, exact)


def _modulo(vector: Vector, modulus: int | None) -> Vector:
    if modulus is None:
        return {v: c for v, c in vector.items() if c}
    return {v: Fraction(1) for v, c in vector.items() if int(c) % modulus}


def _follow_sibling(p: Pass, leaf: Leaf) -> bool:
    """A block that no op reads (unused rows of a position table) moves along with one that is read."""
    for other in p.leaves:
        if other.name != leaf.name or not other.used:
            continue
        shared = []
        for axis in range(len(leaf.cells)):
            mine, yours = _of_axis(leaf, axis), _of_axis(other, axis)
            if leaf.cells[axis] == other.cells[axis]:
                shared += list(zip(mine, yours, strict=True))
        for i, j in shared:
            f, g = leaf.factors[i], other.factors[j]
            assert f.space is not None and g.space is not None
            unify(p, g.space, f.space)
            tie(g.node, f.node, dual=False)
        partner = dict(shared)
        for size in range(len(leaf.factors) + 1):
            for chosen in combinations(range(len(leaf.factors)), size):
                row: dict[Variable, Fraction] = {(leaf.index, chosen): Fraction(1)}
                if all(i in partner for i in chosen):
                    row[other.index, tuple(sorted(partner[i] for i in chosen))] = Fraction(-1)
                p.scale.exact.add(tuple(sorted(row.items())))
                p.sign.exact.add(tuple(sorted((v, Fraction(1)) for v in row)))
        for i, f in enumerate(leaf.factors):
            if i not in partner and f.space is not None:
                f.space.lower(Level.RIGID, "no op reads it")
        return True
    return False


def _of_axis(leaf: Leaf, axis: int) -> list[int]:
    start = sum(len(leaf.block.factors[a]) for a in range(axis))
    return list(range(start, start + len(leaf.block.factors[axis])))


def _hold_unconstrained(p: Pass, leaves: list[Leaf]) -> set[int]:
    """A weight that only ever met zeros (a recurrent one, on a sequence of length one) stays put."""
    held: set[int] = set()
    uses = Counter(f.space.root() for leaf in leaves for f in leaf.factors if f.space is not None)
    for leaf in leaves:
        for f in leaf.factors:
            assert f.space is not None
            root = f.space.root()
            if root.level == Level.LINEAR and uses[root] == 1 and not f.node.tied:
                for g in leaf.factors:
                    assert g.space is not None
                    g.space.lower(Level.RIGID, "the example inputs do not reach it")
                form: Form = {(leaf.index, tuple(g.label for g in leaf.factors)): Fraction(1)}
                p.scale.demand(dict(form))
                p.sign.demand(dict(form))
                held.add(leaf.index)
                break
    return held


def _local(p: Pass, spaces: Iterable[Space]) -> dict[Space, list[Space]]:
    wanted = set(spaces)
    local: dict[Space, set[Space]] = {}
    for tensor in p.seen:
        roots = Counter(s.root() for s in tensor)
        for s, times in roots.items():
            if s in wanted and s.level > Level.RIGID:
                others = {t for t, n in roots.items() if n == 1 and t is not s} if times == 1 else set()
                local[s] = local[s] & others if s in local else others
    return {s: sorted(local.get(s, ()), key=lambda t: t.serial) for s in wanted}
