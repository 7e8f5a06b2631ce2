"""Translations: shifts of parameters that a network does not see.

A bias slides along a linear path into the next bias; a softmax or a LayerNorm does not see a uniform shift; what a
LayerNorm has annihilated, its readers may add; a low-rank branch moves into the weight beside it; keys need no
bias. Each is a linear relation among small *columns*: gradients of parameter blocks, summed along an axis or passed
through another weight. Columns that share an index set are stacked over random points, and their relations read off.

References:
    Dissertation, Example 1.2.2 (translations of linear paths) and Example 1.2.8 (softmax); the others are listed in
    docs/catalogue.md with their derivation.
"""

from isoloss.finding._translations._relations import relations
from isoloss.finding._translations._search import translations

__all__ = [
    "relations",
    "translations",
]
