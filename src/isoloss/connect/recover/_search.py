"""The search for the elements of many symmetries at once: one after another, as soon as each can be told."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from isoloss.connect.recover._least_squares import gauss_newton
from isoloss.connect.recover._overlap import clouded, overlap
from isoloss.connect.recover._solvers import SOLVERS, Solution
from isoloss.connect.recover._views import head_features, views
from isoloss.groups import GeneralLinear, Orthogonal, Permutation, Translation
from isoloss.symmetry import Shift, Slot, Symmetries, Symmetry

Tensors = Mapping[str, Tensor]
# A residual that rounding, enlarged by the condition numbers of the elements, may have left.
NEAR = 1e-5


class Search:
    r"""Elements with :math:`b = g_m \cdots g_1 \cdot a`, in the order of the symmetries.

    1. *Peeling.* A symmetry is solved for, in closed form, from those of its slots that no unknown symmetry
       disturbs; its neighbours can then be solved for, and so on, from the inputs and the outputs inward.
    2. *Joint.* Matrix groups that only together are determined (layers narrower at the ends) are one linear problem.
    3. *Translations*, once all else is known.
    4. *Sweeps.* Every element once more from all of its slots; a change is kept if it lowers the residual.
    5. *Polish.* Gauss and Newton over all continuous elements, if the residual is still above rounding.
    6. *The other sign.* A rotation that fixes the ones is read up to its sign beside them while the sign of the stream
       is unknown; if all of the above has failed it is done again with the other one.

    Args:
        symmetries: What acts.
        a: The first point, float64.
        b: The second.
        goal: Relative residual that is good enough.
    """

    def __init__(self, symmetries: Symmetries, a: Tensors, b: Tensors, goal: float):
        self.symmetries, self.goal = symmetries, goal
        self.a, self.b = dict(a), dict(b)
        self.elements: list[Tensor | None] = [None] * len(symmetries)
        self.known = [0.0] * len(symmetries)
        self._names = [n for n in a if n in {p for s in symmetries for p in s.parameters}]
        squares = [self.b[n].square().sum() for n in self._names]
        self._size = float(torch.stack(squares).sum().sqrt()) or 1.0

    def run(self) -> list[Tensor]:
        """The elements, one per symmetry; where nothing is known the identity."""
        self._search()
        for k in self._halves():
            if self._residual() <= NEAR:
                break
            self._reflect(k)
        return self._filled()

    def _search(self) -> None:
        moves = [k for k, s in enumerate(self.symmetries) if not isinstance(s.group, Translation)]
        shifts = [k for k, s in enumerate(self.symmetries) if isinstance(s.group, Translation)]
        self._peel(moves)
        for _ in range(3):
            self._peel(shifts)
            if self._residual() <= self.goal or not self._sweep(moves):
                break
            for k in shifts:
                self.elements[k] = None
        else:
            self._peel(shifts)  # the last sweep has let them go
        if self._residual() > self.goal:
            self._polish()

    def _halves(self) -> list[int]:
        """Rotations that fix the ones and were fitted where a sign of the whole stream was not known yet."""
        return [
            k
            for k, s in enumerate(self.symmetries)
            if isinstance(s.group, Orthogonal) and s.group.fixes_ones and self.elements[k] is not None
        ]

    def _reflect(self, k: int) -> None:
        """Begin anew with the other sign of a rotation beside the ones, which these tell apart; keep the better one."""
        elements, known, before = list(self.elements), list(self.known), self._residual()
        g, share = elements[k], known[k]
        assert g is not None
        other = 2 / g.shape[-1] - g  # on the ones 1, beside them -g
        self.elements = [other if j == k else None for j in range(len(elements))]
        self.known = [share if j == k else 0.0 for j in range(len(known))]
        self._search()
        if self._residual() >= before:
            self.elements, self.known = elements, known

    def residual(self, elements: list[Tensor]) -> float:
        """Distance of g a and b over all that moves, relative to b."""
        moved = self.symmetries.act(elements, self.a)
        squares = [(moved[n] - self.b[n]).square().sum() for n in self._names]
        return float(torch.stack(squares).sum().sqrt()) / self._size

    def _residual(self) -> float:
        return self.residual(self._filled())

    def _filled(self) -> list[Tensor]:
        return [
            s.identity(dtype=torch.float64, device=self.a[s.parameters[0]].device) if g is None else g
            for s, g in zip(self.symmetries, self.elements, strict=True)
        ]

    def _peel(self, members: list[int]) -> None:
        held: dict[int, Solution] = {}
        while waiting := [k for k in members if self.elements[k] is None]:
            progress = False
            for k in waiting:
                solution = self._solve(k)
                if solution is not None and solution.known == 1.0:
                    self._accept(k, solution)
                    progress = True
                elif solution is not None:
                    held[k] = solution
            if progress:
                held.clear()
                continue
            if any(isinstance(self.symmetries[k].group, Translation) for k in waiting):
                self._move(waiting)  # what hides one translation is another: all that are left at once
                return
            if self._joint([k for k in waiting if isinstance(self.symmetries[k].group, GeneralLinear)]):
                continue
            open_ = {k: held[k] for k in waiting if k in held}
            if not open_:
                return
            best = max(open_, key=lambda k: open_[k].known)
            self._accept(best, open_[best])
            held.clear()

    def _accept(self, k: int, solution: Solution) -> None:
        s = self.symmetries[k]
        self.elements[k] = solution.element.reshape(*s.batch, *s.group.element_shape)
        self.known[k] = solution.known

    def _solve(self, k: int, *, everything: bool = False) -> Solution | None:
        """The element of one symmetry from the slots that can be used now; None if there is none."""
        s = self.symmetries[k]
        unknown = [t for j, t in enumerate(self.symmetries) if self.elements[j] is None and j != k]
        here, there = self._around(k)
        if isinstance(s.group, Translation):
            return self._translation(s, unknown, self._found(k), here, there)
        if everything:
            unknown = []
        found = views(s, unknown, here, there, self._found(k))
        if isinstance(s.group, Permutation) and not found:
            found = head_features(s, unknown, here, there)
        solver = SOLVERS.get(type(s.group))
        if solver is None or not found:
            return None
        return solver(s.group, found)

    def _found(self, k: int) -> list[Symmetry]:
        """The other symmetries whose elements are known."""
        return [t for j, t in enumerate(self.symmetries) if self.elements[j] is not None and j != k]

    def _around(self, k: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a symmetry uses: at a, moved by the known elements before it, and at b, moved back by those after."""
        s = self.symmetries[k]
        names = {*s.parameters, *s.reads}
        rivals = [t for t in self.symmetries if names & set(t.parameters)]
        for t in rivals:  # what their actions pass through
            names |= set(t.reads)
        steps = list(zip(self.symmetries, self.elements, strict=True))
        closed = False
        while not closed:
            more = {r for t, g in steps if g is not None and names & set(t.parameters) for r in t.reads}
            closed, names = more <= names, names | more
        here = {n: self.a[n] for n in self.a if n in names}
        there = {n: self.b[n] for n in self.b if n in names}
        for t, g in steps[:k]:
            if g is not None:
                here |= t.act(g, here)
        for t, g in reversed(steps[k + 1 :]):
            if g is not None:
                there |= t.act(t.group.inverse(g), there)
        return here, there

    def _translation(
        self, s: Symmetry, unknown, known: list[Symmetry], here: Tensors, there: Tensors
    ) -> Solution | None:
        """A translation from the shifts that nothing unknown disturbs: least squares, nearest to zero."""
        usable = [
            slot
            for slot in s.slots
            if isinstance(slot, Shift) and not _disturbed(slot, unknown) and not clouded(slot, known, unknown)
        ]
        if not usable:
            return None
        count = s.identity(dtype=torch.float64).numel()
        shape = (*s.batch, *s.group.element_shape)

        def shifted(t: Tensor) -> Tensor:
            parts = []
            for slot in usable:
                block = slot.block.view(here[slot.parameter])
                parts.append(slot.velocity(s.group, t.reshape(shape), block, here).flatten())
            return torch.cat(parts)

        gap = torch.cat(
            [
                (slot.block.view(there[slot.parameter]) - slot.block.view(here[slot.parameter])).flatten()
                for slot in usable
            ]
        )
        zero = gap.new_zeros(count)
        (t,) = gauss_newton(lambda t: (shifted(t) - gap,), [zero], steps=2, iterations=2 * count + 10)
        probe = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(gap)
        aim = shifted(probe)
        (again,) = gauss_newton(lambda t: (shifted(t) - aim,), [zero], steps=2, iterations=2 * count + 10)
        unique = torch.linalg.vector_norm(again - probe) <= 1e-6 * torch.linalg.vector_norm(probe)
        return Solution(t, 1.0 if unique else 0.5)

    def _joint(self, members: list[int]) -> bool:
        """Solve for matrices that share layers at once: every layer is linear in those on its two sides."""
        if not members:
            return False
        group = [self.symmetries[k] for k in members]
        unknown = [t for j, t in enumerate(self.symmetries) if self.elements[j] is None and j not in members]
        names = [
            n
            for n in self._names
            if any(n in s.parameters for s in group) and not any(n in t.parameters for t in unknown)
        ]
        if not names:
            return False
        here: dict[str, Tensor] = {}
        there: dict[str, Tensor] = {}
        for k in members:
            one, two = self._around(k)
            here |= {n: one[n] for n in self.symmetries[k].parameters}
            there |= {n: two[n] for n in self.symmetries[k].parameters}
        halves = [(_half(s, 1), _half(s, -1)) for s in group]

        def gap(*elements: Tensor) -> tuple[Tensor, ...]:
            left, right = dict(here), dict(there)
            for (plus, minus), g in zip(halves, elements, strict=True):
                if plus is not None:
                    left |= plus.act(g, left)
                if minus is not None:
                    right |= minus.act(g.mT, right)
            return tuple(left[n] - right[n] for n in names)

        home = self.a[names[0]].device
        start = [s.identity(dtype=torch.float64, device=home) for s in group]
        before = _size(gap(*start))
        found = gauss_newton(gap, start, steps=4, iterations=4 * sum(g.numel() for g in start))
        if _size(gap(*found)) > max(1e-6 * before, self.goal * self._size):
            return False
        if not all(s.group.contains(g) for s, g in zip(group, found, strict=True)):
            return False
        for k, g in zip(members, found, strict=True):
            self.elements[k], self.known[k] = g, 0.5
        return True

    def _sweep(self, members: list[int]) -> bool:
        """Solve for each element once more, from all of its slots; did that help?"""
        helped, best = False, self._residual()
        for k in members:
            old, known = self.elements[k], self.known[k]
            solution = None if old is None else self._solve(k, everything=True)
            if solution is None:
                continue
            self._accept(k, solution)
            if (now := self._residual()) < best * (1 - 1e-9):
                best, helped = now, True
            else:
                self.elements[k], self.known[k] = old, known
        return helped

    def _polish(self) -> None:
        """Move the continuous elements that were left open towards b; if there are none, all, should rounding do it."""
        free = [k for k, s in enumerate(self.symmetries) if s.dim and self.known[k] < 1.0]
        if not free and self._residual() <= NEAR:
            free = [k for k, s in enumerate(self.symmetries) if s.dim]
        self._move(free)

    def _move(self, free: list[int]) -> None:
        """Move some continuous elements towards b together, if that is nearer."""
        if not free:
            return
        start = self._filled()

        def placed(algebra: tuple[Tensor, ...]) -> list[Tensor]:
            elements = list(start)
            for k, d in zip(free, algebra, strict=True):
                group = self.symmetries[k].group
                elements[k] = group.compose(group.exp(group.project(d)), start[k])
            return elements

        def gap(*algebra: Tensor) -> tuple[Tensor, ...]:
            moved = dict(self.a)
            for s, g in zip(self.symmetries, placed(algebra), strict=True):
                moved |= s.act(g, moved)
            return tuple(moved[n] - self.b[n] for n in self._names)

        zeros = [
            torch.zeros(*self.symmetries[k].batch, *self.symmetries[k].group.algebra_shape).to(start[k])
            for k in free
        ]
        # Where a discrete element was guessed, what is continuous can hardly mend it.
        guessed = any(known < 1.0 and not s.dim for s, known in zip(self.symmetries, self.known, strict=True))
        steps, most = (2, 50) if guessed else (10, 1000)
        limit = min(most, 10 + 2 * sum(z.numel() for z in zeros))
        before = self.residual(start)
        found = placed(tuple(gauss_newton(gap, zeros, steps=steps, iterations=limit)))
        if self.residual(found) < before:
            for k in free:
                self.elements[k] = found[k]


def _disturbed(slot: Shift, unknown) -> bool:
    for other in unknown:
        disturbing = (*slot.reads, slot.parameter) if other.whole else slot.reads
        if set(disturbing) & set(other.parameters):
            return True
        for rival in other.slots:
            if rival.parameter == slot.parameter and overlap(rival.block, slot.block):
                return True
    return False


def _half(s: Symmetry, sign: int) -> Symmetry | None:
    """The slots of one charge, as if it were 1."""
    slots = tuple(
        replace(x, charge=abs(x.charge)) for x in s.slots if isinstance(x, Slot) and x.charge * sign > 0
    )
    return replace(s, slots=slots) if slots else None


def _size(x: tuple[Tensor, ...]) -> float:
    return float(torch.stack([t.square().sum() for t in x]).sum().sqrt())
