"""Scale and sign forms: how a tensor scales when the parameters do, and the linear systems that follow.

Every block of a parameter has one unknown, a function of all its indices: its log-scale (or, over F2, its sign).
A tensor's form is a sum of such functions, each with its indices bound to the tensor's axes. An op adds forms,
multiplies them, or demands that one vanish or be constant along an axis.

A function f(i, j) splits uniquely into f_0 + f_i + f_j + f_ij, each part zero where one of its arguments is zero.
A demand on forms therefore falls apart into one scalar equation for each set of indices, whose variables are
(unknown, set of its positions): a few hundred, however wide the network is.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations

Binding = tuple[int | None, ...]
Term = tuple[int, Binding]
Form = dict[Term, Fraction]
Variable = tuple[int, tuple[int, ...]]
Vector = dict[Variable, Fraction]


def plus(a: Form, b: Form, factor: Fraction | int = 1) -> Form:
    """a + factor * b."""
    total = dict(a)
    for term, c in b.items():
        total[term] = total.get(term, 0) + factor * c
    return {t: c for t, c in total.items() if c}


def times(a: Form, factor: Fraction | int) -> Form:
    """factor * a."""
    return {t: c * factor for t, c in a.items() if c * factor}


def renamed(form: Form, names: dict[int, int | None]) -> Form:
    """The form with its labels renamed; None means that it no longer depends on that index."""
    total: Form = {}
    for (unknown, binding), c in form.items():
        term = (unknown, tuple(names.get(i, i) if i is not None else None for i in binding))
        total[term] = total.get(term, 0) + c
    return {t: c for t, c in total.items() if c}


class System:
    """Homogeneous linear equations over the rationals, or over F2."""

    def __init__(self, modulus: int | None = None):
        self.modulus = modulus
        self.exact: set[tuple] = set()
        self.nearly: set[tuple] = set()

    def demand(self, form: Form, along: Iterable[int] | None = None, *, nearly: bool = False) -> None:
        """Demand that a form vanish, or that it be constant along some labels.

        Args:
            form: The form.
            along: Labels; with None the whole form must vanish.
            nearly: The demand is only there because of the eps of a norm.
        """
        labels = sorted({i for _, binding in form for i in binding if i is not None})
        along = None if along is None else set(along)
        for size in range(len(labels) + 1):
            for chosen in combinations(labels, size):
                if along is None or along.intersection(chosen):
                    self._add(self._part(form, set(chosen)), nearly)

    def _part(self, form: Form, chosen: set[int]) -> Vector:
        part: Vector = {}
        for (unknown, binding), c in form.items():
            positions = [p for p, i in enumerate(binding) if i in chosen]
            if {binding[p] for p in positions} != chosen:
                continue
            for subset in _covering(positions, binding, chosen):
                part[unknown, subset] = part.get((unknown, subset), 0) + c
        return part

    def _add(self, vector: Vector, nearly: bool) -> None:
        row = self._reduced(vector)
        if row:
            (self.nearly if nearly else self.exact).add(tuple(sorted(row.items())))

    def _reduced(self, vector: Vector) -> Vector:
        if self.modulus is None:
            return {v: Fraction(c) for v, c in vector.items() if c}
        return {v: Fraction(1) for v, c in vector.items() if Fraction(c).numerator % self.modulus}

    def solve(self, variables: list[Variable], *, nearly: bool = False) -> list[Vector]:
        """A basis of the solutions; with nearly, of those that ignore the eps of norms."""
        rows = self.exact if nearly else self.exact | self.nearly
        solver = Elimination(self.modulus)
        for row in sorted(rows, key=len):
            solver.add(dict(row))
        return solver.kernel(variables)


class Elimination:
    """Sparse Gauss-Jordan elimination over the rationals or over F2."""

    def __init__(self, modulus: int | None = None):
        self.modulus = modulus
        self.rows: dict[Variable, Vector] = {}
        self._users: dict[Variable, set[Variable]] = {}

    def reduce(self, vector: Vector) -> Vector:
        """The remainder of a vector modulo the rows."""
        result = dict(vector)
        for v in list(vector):
            if v in self.rows and result.get(v):
                self._subtract(result, self.rows[v], result[v])
        return result

    def add(self, vector: Vector) -> bool:
        """Add a row; false if it was a combination of the others."""
        row = self.reduce(vector)
        if not row:
            return False
        # The youngest variable becomes the pivot: the first blocks of a network stay free, and lead the solution.
        pivot = max(row, key=lambda v: (v[0], v[1]))
        scale = row[pivot]
        row = {v: c / scale for v, c in row.items()}
        for other in self._users.pop(pivot, set()):
            old = self.rows[other]
            if old.get(pivot):
                self._subtract(old, row, old[pivot])
                self._note(other, old)
        self.rows[pivot] = row
        self._note(pivot, row)
        return True

    def kernel(self, variables: list[Variable]) -> list[Vector]:
        """A basis of the vectors on which every row vanishes."""
        basis = []
        for free in (v for v in variables if v not in self.rows):
            vector = {free: Fraction(1)}
            for pivot in self._users.get(free, ()):
                c = self.rows[pivot].get(free)
                if c:
                    vector[pivot] = Fraction(1) if self.modulus else -c
            basis.append(vector)
        return basis

    def _note(self, pivot: Variable, row: Vector) -> None:
        for v in row:
            if v != pivot:
                self._users.setdefault(v, set()).add(pivot)

    def _subtract(self, target: Vector, row: Vector, factor: Fraction) -> None:
        for v, c in row.items():
            value = target.get(v, 0) - factor * c
            if self.modulus is not None:
                value = Fraction(int(value) % self.modulus)
            if value:
                target[v] = value
            else:
                target.pop(v, None)


def sparsest(basis: list[Vector], modulus: int | None) -> list[Vector]:
    """A basis of the same space with fewer entries: neighbours that cancel are subtracted from one another."""
    helper = Elimination(modulus)
    users: dict[Variable, set[int]] = {}
    for i, vector in enumerate(basis):
        for v in vector:
            users.setdefault(v, set()).add(i)
    changed = True
    while changed:
        changed = False
        for i, vector in enumerate(basis):
            near = {j for v in vector for j in users[v]} - {i}
            for j in sorted(near):
                for v in vector.keys() & basis[j].keys():
                    trial = dict(vector)
                    helper._subtract(trial, basis[j], vector[v] / basis[j][v])
                    if 0 < len(trial) < len(vector):
                        for w in vector.keys() - trial.keys():
                            users[w].discard(i)
                        for w in trial.keys() - vector.keys():
                            users.setdefault(w, set()).add(i)
                        basis[i] = vector = trial
                        changed = True
                        break
    return basis


def _covering(positions: list[int], binding: Binding, chosen: set[int]) -> list[tuple[int, ...]]:
    if len(positions) == len(chosen):
        return [tuple(positions)]
    # An unknown read on a diagonal, f(i, i): all its parts that depend on i add up.
    found = []
    for size in range(len(chosen), len(positions) + 1):
        found += [s for s in combinations(positions, size) if {binding[p] for p in s} == chosen]
    return found
