"""Linear relations among columns of numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from isoloss.finding._translations._column import SAME

# Relations among so many columns are told from accidents by at least so many more rows.
MARGIN = 6


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
