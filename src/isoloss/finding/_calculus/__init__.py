"""What ops do to abstract tensors: the four verbs that every rule is written in.

pointwise (add, multiply, any function of each element), contract, reduce and normalise; and freeze, for what none
of them describes. Each identifies spaces, lowers their levels and writes down the equations of scales and signs.
"""

from isoloss.finding._calculus._contract import contract
from isoloss.finding._calculus._elementwise import elementwise, linear
from isoloss.finding._calculus._levels import CURVED, bind, freeze, lower_all, rotate
from isoloss.finding._calculus._normalise import normalise
from isoloss.finding._calculus._pointwise import add, pointwise, sum_of
from isoloss.finding._calculus._product import multiply, squared
from isoloss.finding._calculus._reduce import reduce

__all__ = [
    "CURVED",
    "add",
    "bind",
    "contract",
    "elementwise",
    "freeze",
    "linear",
    "lower_all",
    "multiply",
    "normalise",
    "pointwise",
    "reduce",
    "rotate",
    "squared",
    "sum_of",
]
