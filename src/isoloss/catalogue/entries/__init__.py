"""The entries of the catalogue; a new one is one file and one line here."""

from isoloss.catalogue._entry import Entry
from isoloss.catalogue.entries._attention import (
    ATTENTION,
    MULTI_HEAD_HEADS,
    MULTI_HEAD_KEYS,
    MULTI_HEAD_VALUES,
)
from isoloss.catalogue.entries._batchnorm import BATCHNORM
from isoloss.catalogue.entries._equivariant import EQUIVARIANT
from isoloss.catalogue.entries._homogeneous import HOMOGENEOUS
from isoloss.catalogue.entries._linear import LINEAR
from isoloss.catalogue.entries._lora import LORA
from isoloss.catalogue.entries._mean import MEAN
from isoloss.catalogue.entries._norms import GROUP_NORM, LAYER_NORM, WEIGHT_NORM
from isoloss.catalogue.entries._one_sample import ONE_SAMPLE
from isoloss.catalogue.entries._pointwise import POINTWISE
from isoloss.catalogue.entries._radial import RADIAL
from isoloss.catalogue.entries._radial_basis import RADIAL_BASIS
from isoloss.catalogue.entries._self_supervised import SELF_SUPERVISED
from isoloss.catalogue.entries._softmax import SOFTMAX
from isoloss.catalogue.entries._tanh import TANH

ENTRIES: tuple[Entry, ...] = (
    LINEAR,
    EQUIVARIANT,
    HOMOGENEOUS,
    TANH,
    RADIAL,
    BATCHNORM,
    LAYER_NORM,
    GROUP_NORM,
    WEIGHT_NORM,
    SOFTMAX,
    POINTWISE,
    RADIAL_BASIS,
    ATTENTION,
    MULTI_HEAD_KEYS,
    MULTI_HEAD_VALUES,
    MULTI_HEAD_HEADS,
    LORA,
    SELF_SUPERVISED,
    ONE_SAMPLE,
    MEAN,
)

__all__ = ["ENTRIES"]
