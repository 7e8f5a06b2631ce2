"""What a meta-optimizer can learn, one part per file; `PARTS` lists them as variants name them."""

from isoloss.learn.parts._lr import LearningRate
from isoloss.learn.parts._momentum import Momentum
from isoloss.learn.parts._part import Part
from isoloss.learn.parts._tele import Shape, Teleport, algebra_shape
from isoloss.learn.parts._update import Update

PARTS: dict[str, type[Part]] = {
    "update": Update,
    "lr": LearningRate,
    "momentum": Momentum,
    "tele": Teleport,
}

__all__ = ["PARTS", "LearningRate", "Momentum", "Part", "Shape", "Teleport", "Update", "algebra_shape"]
