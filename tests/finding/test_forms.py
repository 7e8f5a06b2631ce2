"""Systems of scale and sign forms against the same equations written out for every index."""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, product
from math import prod
from random import Random

import numpy as np
import pytest

from isoloss.finding._forms import Elimination, System, plus, renamed, sparsest, times

MODULI = pytest.mark.parametrize("modulus", [None, 2], ids=["rational", "F2"])


@dataclass
class Problem:
    """Unknown functions of some indices, and demands on sums of them, as forms and as dense equations.

    An index is named by a label; labels 2 s and 2 s + 1 run over the space s.
    """

    sizes: list[int]  # of the spaces
    unknowns: list[tuple[int, ...]]  # for each, the spaces of its arguments
    demands: list[tuple[dict, list[int] | None, bool]] = field(default_factory=list)

    @property
    def offsets(self) -> list[int]:
        sizes = [prod(self.sizes[s] for s in spaces) for spaces in self.unknowns]
        return [sum(sizes[:u]) for u in range(len(sizes) + 1)]

    def column(self, u: int, index: tuple[int, ...]) -> int:
        shape = [self.sizes[s] for s in self.unknowns[u]]
        return self.offsets[u] + (int(np.ravel_multi_index(index, shape)) if index else 0)

    @property
    def variables(self) -> list:
        subsets = lambda n: (c for k in range(n + 1) for c in combinations(range(n), k))  # noqa: E731
        return [(u, c) for u, spaces in enumerate(self.unknowns) for c in subsets(len(spaces))]

    def repeated(self, variable) -> bool:
        spaces = [self.unknowns[variable[0]][p] for p in variable[1]]
        return len(set(spaces)) < len(spaces)

    def system(self, modulus) -> System:
        system = System(modulus)
        for form, along, nearly in self.demands:
            system.demand(form, along, nearly=nearly)
        for v in self.variables:
            if self.repeated(
                v
            ):  # a function of both arguments from one space: as in the finder, held at zero
                system.exact.add(((v, Fraction(1)),))
        return system

    def dense(self, nearly: bool) -> np.ndarray:
        """All equations, index by index."""
        rows = [
            row
            for form, along, eps in self.demands
            if not (eps and nearly)
            for row in self._rows(form, along)
        ]
        for u, spaces in enumerate(self.unknowns):
            if len(set(spaces)) < len(spaces):
                rows += self._additive(u)
        return np.array(rows).reshape(len(rows), self.offsets[-1])

    def _rows(self, form, along):
        labels = sorted({i for _, binding in form for i in binding if i is not None})
        moving = set(labels) if along is None else set(along)
        for values in product(*(range(self.sizes[i // 2]) for i in labels)):
            here = dict(zip(labels, values, strict=True))
            row = self._value(form, here)
            if along is not None:  # the same everywhere along these labels
                row = row - self._value(form, {i: 0 if i in moving else v for i, v in here.items()})
            yield row

    def _value(self, form, at: dict) -> np.ndarray:
        row = np.zeros(self.offsets[-1])
        for (u, binding), c in form.items():
            row[self.column(u, tuple(0 if i is None else at[i] for i in binding))] += float(c)
        return row

    def _additive(self, u: int):
        """f(i, j) - f(i, 0) - f(0, j) + f(0, 0) = 0 for two arguments from one space."""
        (a, b) = self.unknowns[u]
        for i, j in product(range(self.sizes[a]), range(self.sizes[b])):
            row = np.zeros(self.offsets[-1])
            for index, c in (((i, j), 1), ((i, 0), -1), ((0, j), -1), ((0, 0), 1)):
                row[self.column(u, index)] += c
            yield row

    def written_out(self, vector, rng: Random) -> np.ndarray:
        """A solution of the small system as functions: arbitrary, but zero where any of their indices is zero."""
        spaces = sorted({s for (u, c) in vector for s in (self.unknowns[u][p] for p in c)})
        values = {
            index: 0 if 0 in index else rng.randint(1, 9)
            for index in product(*(range(self.sizes[s]) for s in spaces))
        }
        table = np.zeros(self.offsets[-1])
        for (u, chosen), c in vector.items():
            own = [self.unknowns[u][p] for p in chosen]
            for index in product(*(range(self.sizes[s]) for s in self.unknowns[u])):
                at = dict(zip(own, (index[p] for p in chosen), strict=True))
                table[self.column(u, index)] += float(c) * values[tuple(at[s] for s in spaces)]
        return table

    def dimension(self, vector) -> int:
        u, chosen = next(iter(vector))
        return prod(self.sizes[self.unknowns[u][p]] - 1 for p in chosen)


def random_problem(seed: int, modulus) -> Problem:
    rng = Random(seed)
    sizes = [rng.randint(2, 3) for _ in range(3)]
    arities = [rng.choice([0, 1, 1, 2, 2, 2, 3]) for _ in range(rng.randint(2, 5))]
    unknowns = [tuple(rng.sample(range(3), n)) for n in arities]
    if rng.random() < 0.4:
        unknowns.append((0, 0))  # a recurrent weight
    problem = Problem(sizes, unknowns)
    for _ in range(rng.randint(1, 5)):
        form: dict = {}
        for _ in range(rng.randint(1, 4)):
            u = rng.randrange(len(unknowns))
            binding = tuple(None if rng.random() < 0.1 else 2 * s + (rng.random() < 0.3) for s in unknowns[u])
            c = (
                Fraction(rng.choice([1, 1, -1, 2]))
                if modulus
                else Fraction(rng.choice([1, -1, 2, -3]), rng.choice([1, 2]))
            )
            form = plus(form, {(u, binding): c})
        labels = sorted({i for _, b in form for i in b if i is not None})
        along = None if rng.random() < 0.4 else rng.sample(labels, rng.randint(0, len(labels)))
        problem.demands.append((form, along, rng.random() < 0.2))
    return problem


def nullity(rows: np.ndarray, modulus) -> int:
    if not len(rows):
        return rows.shape[1]
    if modulus is None:
        return rows.shape[1] - int(np.linalg.matrix_rank(rows))
    rank, rest = 0, [int("".join(str(int(c) % 2) for c in row) or "0", 2) for row in rows]
    while rest:
        pivot = max(rest)
        rest.remove(pivot)
        if pivot:
            rank += 1
            high = pivot.bit_length()
            rest = [r ^ pivot if r.bit_length() == high else r for r in rest]
    return rows.shape[1] - rank


@MODULI
@pytest.mark.parametrize("nearly", [False, True], ids=["with eps", "without eps"])
@pytest.mark.parametrize("seed", range(60))
def test_solutions_are_the_null_space_of_the_dense_equations(seed, nearly, modulus):
    """Each solution solves them, and together they are as many dimensions as there are."""
    problem = random_problem(seed, modulus)
    basis = problem.system(modulus).solve(problem.variables, nearly=nearly)
    rows = problem.dense(nearly)
    rng = Random(seed)
    for vector in basis:
        residual = rows @ problem.written_out(vector, rng)
        assert not (residual % modulus if modulus else residual.round(9)).any(), vector
    assert sum(problem.dimension(v) for v in basis) == nullity(rows, modulus)


@MODULI
@pytest.mark.parametrize("seed", range(20))
def test_names_of_labels_and_order_of_demands_do_not_matter(seed, modulus):
    problem = random_problem(seed, modulus)
    other = System(modulus)
    for form, along, nearly in reversed(problem.demands):
        names = {i: 100 - i for _, b in form for i in b if i is not None}
        other.demand(
            renamed(form, names), None if along is None else [names[i] for i in along], nearly=nearly
        )
    same = problem.system(modulus)
    other.exact |= same.exact  # those of repeated spaces; all others must be there already
    assert other.exact == same.exact and other.nearly == same.nearly


@MODULI
@pytest.mark.parametrize("seed", range(20))
def test_sparsest_spans_the_same_with_no_more_entries(seed, modulus):
    problem = random_problem(seed, modulus)
    basis = problem.system(modulus).solve(problem.variables)
    thin = sparsest([dict(v) for v in basis], modulus)
    known = Elimination(modulus)
    assert all(known.add(dict(v)) for v in basis)  # independent
    assert not any(known.add(dict(v)) for v in thin)  # in their span
    mine = Elimination(modulus)
    assert all(mine.add(dict(v)) for v in thin) and len(thin) == len(basis)
    assert sum(map(len, thin)) <= sum(map(len, basis))


def test_sparsest_finds_the_single_layers_of_a_deep_net():
    """Layers (a, -a), (a, -a) told as sums come apart."""
    one, two, three = ({(i, ()): Fraction(1), (i + 1, ()): Fraction(-1)} for i in range(3))
    thin = sparsest([one, plus(one, two), plus(plus(one, two), three)], None)
    assert [len(v) for v in thin] == [2, 2, 2]


@MODULI
def test_elimination_knows_what_it_has_seen(modulus):
    """A combination of rows reduces to nothing and is not added."""
    rng = Random(0)
    variables = [(i, ()) for i in range(8)]
    rows = [{v: Fraction(1) for v in rng.sample(variables, 3)} for _ in range(5)]
    solver = Elimination(modulus)
    rank = sum(solver.add(dict(r)) for r in rows)
    dense = np.array([[float(r.get(v, 0)) for v in variables] for r in rows])
    assert rank == 8 - nullity(dense, modulus)
    total = plus(plus(rows[0], rows[1]), rows[2])
    total = {v: c % 2 for v, c in total.items() if c % 2} if modulus else total
    assert solver.reduce(total) == {} and not solver.add(dict(total))
    for vector in solver.kernel(variables):
        for r in rows:
            product_ = sum(r.get(v, 0) * c for v, c in vector.items())
            assert (product_ % modulus if modulus else product_) == 0


def test_sums_of_forms_forget_what_cancels():
    a, b = (0, (1, 2)), (1, (1,))
    assert plus({a: Fraction(1), b: Fraction(2)}, {b: Fraction(1)}, -2) == {a: 1}
    assert times({a: Fraction(1, 2)}, 4) == {a: 2} and times({a: Fraction(1)}, 0) == {}
    assert renamed({(0, (1, 2)): Fraction(1), (0, (3, 2)): Fraction(-1)}, {3: 1}) == {}
    assert renamed({(0, (1, 2)): Fraction(1)}, {1: None}) == {(0, (None, 2)): 1}
