"""The symmetries of network components, as entries with a module, a group, an action and limits; and a test of kinds.

Example:
    >>> from isoloss.catalogue import CATALOGUE, is_symmetry
    >>> entry = CATALOGUE["Self-supervised linear network"]
    >>> example = entry.example()
    >>> move = entry.transformation(example.sample(), example)
    >>> is_symmetry(move, example.problem, "loss").holds
    True
    >>> is_symmetry(move, example.problem, "neural network").holds
    False
"""

from isoloss.catalogue._catalogue import Catalogue
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Problem
from isoloss.catalogue._verdict import Verdict, is_symmetry
from isoloss.catalogue.entries import ENTRIES

CATALOGUE = Catalogue(ENTRIES)

__all__ = ["CATALOGUE", "Catalogue", "Entry", "Example", "Kind", "Problem", "Verdict", "is_symmetry"]
