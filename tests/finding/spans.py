"""Spaces of directions that symmetries move parameters in: a basis of scalings or signs may be chosen in many ways."""

from collections.abc import Iterable, Mapping
from math import prod

import torch
from torch import Tensor

from isoloss.groups import ComplexScaling, GeneralLinear, Group, Orthogonal, PositiveScaling, SignFlip
from isoloss.symmetry import Symmetry
from zoo import Expected

Tensors = Mapping[str, Tensor]
ZERO = 1e-9  # relative to the largest singular value, of directions scaled to length one


def tangents(symmetries: Iterable[Symmetry], tensors: Tensors, names: Iterable[str]) -> Tensor:
    """Velocities of the orbit in these parameters, one row per basis element of every algebra."""
    names = list(names)
    rows = [torch.zeros(0, sum(tensors[n].numel() for n in names), dtype=torch.float64)]
    for s in symmetries:
        for a in basis(s):
            velocity = s.generator(a, tensors)
            parts = [velocity[n] if n in velocity else torch.zeros_like(tensors[n]) for n in names]
            row = torch.cat([p.flatten() for p in parts])
            rows.append((row / row.norm().clamp_min(torch.finfo(row.dtype).tiny))[None])
    return torch.cat(rows)


def basis(s: Symmetry) -> Iterable[Tensor]:
    """Algebra elements that differ from zero at one index of the batch."""
    for index in range(prod(s.batch)):
        for b in s.group.basis(dtype=torch.float64):
            a = torch.zeros(prod(s.batch), *s.group.algebra_shape, dtype=torch.float64)
            a[index] = b
            yield a.reshape(*s.batch, *s.group.algebra_shape)


def rank(rows: Tensor) -> int:
    """Dimension of the span."""
    if not len(rows):
        return 0
    singular = torch.linalg.svdvals(rows)
    return int((singular > ZERO * singular[0]).sum())


def inside(rows: Tensor, columns: Tensor) -> Tensor:
    """An orthonormal basis of the vectors of the span that vanish outside some columns (a boolean mask)."""
    _, s, vh = torch.linalg.svd(rows, full_matrices=False)
    span = vh[s > ZERO * s[0]] if len(s) else vh
    outside = span[:, ~columns]
    _, s, vh = torch.linalg.svd(outside.T, full_matrices=True)
    kernel = vh[int((s > ZERO).sum()) :]
    return kernel @ span


def flips(symmetries: Iterable[Symmetry], tensors: Tensors, names: Iterable[str]) -> list[int]:
    """Which entries each elementary reflection turns around, as the bits of an integer."""
    found = []
    for s in symmetries:
        for g in reflections(s):
            moved = s.act(g, tensors)
            turned = torch.cat([_turned(tensors[n], moved.get(n)).flatten() for n in names])
            found.append(sum(1 << i for i in turned.nonzero().flatten().tolist()))
    return found


def _turned(old: Tensor, new: Tensor | None) -> Tensor:
    if new is None:
        return torch.zeros_like(old, dtype=torch.bool)
    return (new + old).abs() <= 1e-12 * old.abs()


def reflections(s: Symmetry) -> Iterable[Tensor]:
    """Elements that turn one coordinate around, at one index of the batch."""
    identity = s.identity(dtype=torch.float64)
    for index in range(prod(s.batch)):
        for k in range(s.group.n):
            g = identity.clone().reshape(prod(s.batch), *s.group.element_shape)
            if isinstance(s.group, SignFlip | ComplexScaling):
                g[index, k] *= -1
            elif isinstance(s.group, GeneralLinear) or _all_rotations(s.group):
                g[index, k, k] = -1
            else:
                return
            yield g.reshape(identity.shape)


def _all_rotations(group: Group) -> bool:
    return isinstance(group, Orthogonal) and not group.fixes_ones


def flips_inside(found: list[int], allowed: int) -> list[int]:
    """A basis of the vectors over F2 in the span that vanish outside the bits allowed."""
    pivots: dict[int, int] = {}
    for v in found:
        # The highest bit outside decides, so what is reduced to nothing outside lies inside.
        while v & ~allowed:
            high = (v & ~allowed).bit_length()
            if high not in pivots:
                pivots[high] = v
                break
            v ^= pivots[high]
        else:
            while v:
                high = -v.bit_length()
                if high not in pivots:
                    pivots[high] = v
                    break
                v ^= pivots[high]
    return [v for high, v in pivots.items() if high < 0]


def is_found(expected: Expected, symmetries: Iterable[Symmetry], tensors: Tensors) -> bool:
    """Is the expected symmetry among those found, or a product of some of them?

    Permutations are contained in the matrix groups of their size. Scalings and signs are found as a basis: the
    expected one is in their span if products of them move all of its parameters and no other, in enough directions.
    """
    symmetries = list(symmetries)
    if any(expected.matches(s) for s in symmetries):
        return True
    if expected.group == "Permutation":
        return any(
            isinstance(s.group, GeneralLinear | Orthogonal)
            and expected.size in (None, s.group.n)
            and expected.slots <= set(s.parameters)
            for s in symmetries
        )
    names = list(tensors)
    wanted = (expected.size or 1) * prod(expected.batch or ())
    masks = {n: torch.cat([torch.full((tensors[m].numel(),), m == n) for m in names]) for n in expected.slots}
    if not masks or any(n not in tensors for n in masks):
        return False
    allowed = torch.stack(list(masks.values())).any(0)
    if expected.group == "PositiveScaling":
        products = [s for s in symmetries if isinstance(s.group, PositiveScaling | GeneralLinear)]
        span = inside(tangents(products, tensors, names), allowed)
        return len(span) >= wanted and all(bool(span[:, m].abs().max() > ZERO) for m in masks.values())
    if expected.group == "SignFlip":
        as_bits = {n: sum(1 << i for i in m.nonzero().flatten().tolist()) for n, m in masks.items()}
        span = flips_inside(flips(symmetries, tensors, names), sum(as_bits.values()))
        return len(span) >= wanted and all(any(v & b for v in span) for b in as_bits.values())
    return False
