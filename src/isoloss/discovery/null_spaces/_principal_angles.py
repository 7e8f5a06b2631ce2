"""The angles between the spaces that two sets of directions span."""

from __future__ import annotations

import torch
from torch import Tensor

from isoloss import landscape
from isoloss.finding._complement import ROUNDING, SMALL
from isoloss.finding._tangents import unit


def principal_angles(a: Tensor, b: Tensor, *, cut: float = SMALL) -> Tensor:
    r"""Principal angles between the spans of the rows of a and of b, ascending, in degrees.

    .. math:: \cos \varphi_i = \sigma_i (Q_a Q_b^T), \qquad
        \sin \varphi_i = \sigma_i \bigl( Q_a (I - Q_b^T Q_b) \bigr)

    with orthonormal rows Q of either span, Q_a of the smaller one. Below 45 degrees the sine decides, above it the
    cosine: a cosine alone knows no angle below 1e-8. All angles are zero where the smaller span lies in the larger.

    Rows need be neither orthogonal nor independent nor of one length. They are given length one (those below 1e-14
    of the longest are rounding, and zero); of what they span, directions with a singular value above the cut,
    relative to the largest, count. An angle is as accurate as the spans are: 1e-16 over the smallest of these.

    Args:
        a: Directions, (*batch, k, p), such as learned ones.
        b: Directions, (*batch, r, p), such as `NullSpace.directions`; rows of zeros add nothing.
        cut: Smallest relative singular value of an independent direction.

    Returns:
        (*batch, min(k, r)). A span of lower dimension has fewer angles; where there is none the result is nan, so
        that directions which collapsed onto each other do not pass for aligned ones.

    Raises:
        ValueError: If the shapes do not fit, or an entry is not finite.

    References:
        Bjorck and Golub (1973), Numerical methods for computing angles between linear subspaces.
    """
    for word, rows in (("a", a), ("b", b)):
        if rows.dim() < 2 or rows.shape[-1] != a.shape[-1]:
            raise ValueError(
                "principal_angles: directions are rows, (*batch, k, p) with one p; got "
                f"{tuple(a.shape)} and {tuple(b.shape)}; transpose a basis of columns with .mT."
            )
        if not bool(rows.isfinite().all()):
            raise ValueError(f"principal_angles: directions must be finite; got nan or inf in {word}.")
    try:
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except RuntimeError as error:
        raise ValueError(
            f"principal_angles: both must have the same batch; got {tuple(a.shape)} and {tuple(b.shape)}; "
            "give one set of directions, or as many as the other."
        ) from error
    spans = [_span(rows.detach().double(), cut) for rows in (a, b)]
    (qa, ra), (qb, rb) = (
        (q.expand(*batch, *q.shape[-2:]).reshape(batch.numel(), *q.shape[-2:]), r.expand(batch).flatten())
        for q, r in spans
    )
    found = qa.new_full((len(ra), min(a.shape[-2], b.shape[-2])), torch.nan)
    ranks = torch.stack([ra, rb], 1)
    for pair in ranks.unique(dim=0):  # as a rule there is one
        chosen = (ranks == pair).all(1)
        k, r = pair.tolist()
        x, y = qa[chosen, :k].mT, qb[chosen, :r].mT
        found[chosen, : min(k, r)] = landscape.principal_angles(x, y).rad2deg()
    return found.reshape(*batch, found.shape[1])


def _span(rows: Tensor, cut: float) -> tuple[Tensor, Tensor]:
    """Orthonormal rows, the independent directions first, and how many there are."""
    floor = ROUNDING * rows.norm(dim=-1, keepdim=True).amax(-2, keepdim=True) if rows.shape[-2] else 0.0
    _, singular, vh = torch.linalg.svd(unit(rows, floor), full_matrices=False)
    largest = singular[..., :1] if singular.shape[-1] else singular
    return vh, ((singular > cut * largest) & (singular > 0)).sum(-1)
