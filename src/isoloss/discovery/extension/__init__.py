"""From the symmetries of a small network to those of a large one, and from large batches to small ones."""

from isoloss.discovery.extension._extend import extend
from isoloss.discovery.extension._field import ExtendedField, ExtendedSymmetry
from isoloss.discovery.extension._place import Place
from isoloss.discovery.extension._restrict import RestrictedField, restrict
from isoloss.discovery.extension._verdicts import Verdict, verdicts

__all__ = [
    "ExtendedField",
    "ExtendedSymmetry",
    "Place",
    "RestrictedField",
    "Verdict",
    "extend",
    "restrict",
    "verdicts",
]
