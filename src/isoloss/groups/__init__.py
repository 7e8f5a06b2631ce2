"""What a symmetry's elements are: compose, invert, exponentiate, draw, and act on an axis of a tensor."""

from isoloss.groups._affine import Affine
from isoloss.groups._complex_scaling import ComplexScaling
from isoloss.groups._general_linear import GeneralLinear
from isoloss.groups._group import Charge, Group
from isoloss.groups._orthogonal import Orthogonal
from isoloss.groups._permutation import Permutation
from isoloss.groups._positive_scaling import PositiveScaling
from isoloss.groups._product import Product
from isoloss.groups._sign_flip import SignFlip
from isoloss.groups._translation import Translation

__all__ = [
    "Affine",
    "Charge",
    "ComplexScaling",
    "GeneralLinear",
    "Group",
    "Orthogonal",
    "Permutation",
    "PositiveScaling",
    "Product",
    "SignFlip",
    "Translation",
]
