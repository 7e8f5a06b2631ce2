"""Inputs moved against a model: plain FGSM and PGD, one file each."""

from isoloss.ensemble.attacks._attack import Attack
from isoloss.ensemble.attacks._ball import BALLS, Ball, L2Ball, LinfBall
from isoloss.ensemble.attacks._fgsm import FGSM
from isoloss.ensemble.attacks._pgd import PGD

ATTACKS: dict[str, type[FGSM] | type[PGD]] = {"fgsm": FGSM, "pgd": PGD}

__all__ = ["ATTACKS", "BALLS", "FGSM", "PGD", "Attack", "Ball", "L2Ball", "LinfBall"]
