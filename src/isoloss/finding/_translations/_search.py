"""From columns to translations: which cancel alone, and which together."""

from __future__ import annotations

from math import prod

import torch

from isoloss.finding._abstract import Leaf
from isoloss.finding._solve import Solution
from isoloss.finding._translations._catalogue import Catalogue
from isoloss.finding._translations._column import SAME, Column, Key
from isoloss.finding._translations._draw import Draw, drawn
from isoloss.finding._translations._relations import MARGIN, relations
from isoloss.finding._verify import Verifier
from isoloss.groups import Translation
from isoloss.symmetry import Symmetry

# Random points: as many as relations need where a pass is cheap, one where a thousand rows come with it.
FEW_DRAWS, MOST = 2, 96
# A point whose gradients are this much smaller than elsewhere has lost the digits that relations need, sqrt(eps).
SATURATED = 1e-8
SMALL_MODEL, LARGE_MODEL = 100_000, 50_000_000


def translations(solution: Solution, verifier: Verifier) -> tuple[list[Symmetry], list[Leaf], list[str]]:
    """All translations of the catalogue, and what was learned on the way.

    Args:
        solution: Spaces and parameter blocks.
        verifier: The copy of the model, which is moved to other points on the way.

    Returns:
        The translations; blocks of weights that no gradient sees; and a note if there was
        nothing to search with.
    """
    catalogue = Catalogue(solution)
    columns = list(catalogue.all())
    blocks = [x for x in catalogue.leaves if len(x.cells) > 1 or (x.cells and x.index in solution.p.gains)]
    unseen = {x.index for x in blocks}
    groups: dict[Key, list[int]] = {}
    for i, column in enumerate(columns):
        groups.setdefault(column.key, []).append(i)
    draws: list[Draw] = []
    size = sum(t.numel() for t in verifier.tensors.values())
    for n in range(_draws(groups, MOST) if size <= SMALL_MODEL else FEW_DRAWS if size <= LARGE_MODEL else 1):
        if n:
            verifier.perturb()
        # Inputs of several sizes reach both sides of more units; much larger ones would drown a radial basis.
        verifier.vary(10 ** (float(torch.rand((), generator=verifier.random)) - 0.5))
        try:
            draw = drawn(columns, verifier)
            if draw is None:
                return [], [], ["translations: they are found from gradients, and those are not finite"]
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return (
                [],
                [],
                [f"translations: they are found from gradients, and the model has none ({reason})"],
            )
        finally:
            verifier.return_to_examples()
        draws.append(draw)
    # Where a softmax is saturated, gradients are the rounding of what cancelled, and show no relation.
    largest = max(draw.largest for draw in draws)
    draws = [draw for draw in draws if draw.largest > SATURATED * largest] or draws
    rows = [draw.values for draw in draws]
    invisible = set(range(len(columns))).intersection(*(draw.invisible() for draw in draws))
    unseen = unseen.intersection(*(draw.unseen(blocks) for draw in draws))
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
    return found, [x for x in blocks if x.index in unseen], []


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
