"""Test functions with their minima and their groups; `PROBLEMS` lists them by name."""

from isoloss.problems._booth import Booth
from isoloss.problems._descent import Trajectory, descend
from isoloss.problems._element import element, rotation
from isoloss.problems._ellipse import Ellipse
from isoloss.problems._generalized_booth import GeneralizedBooth
from isoloss.problems._generalized_rosenbrock import GeneralizedRosenbrock
from isoloss.problems._images import DATA_FOLDER, Data, load, where
from isoloss.problems._matrix_factorization import MatrixFactorization
from isoloss.problems._module import ProblemModule
from isoloss.problems._problem import Problem
from isoloss.problems._published import BOOTH, ROSENBROCK, Run
from isoloss.problems._quadratic import QuadraticForm
from isoloss.problems._rosenbrock import Rosenbrock
from isoloss.problems._sum_of_squares import SumOfSquares
from isoloss.problems._teleports import Ascent, SteepestRotation, Teleporter, squared_gradient
from isoloss.problems._three_layer_regression import ThreeLayerRegression

PROBLEMS: dict[str, type[Problem]] = {
    "rosenbrock": Rosenbrock,
    "booth": Booth,
    "ellipse": Ellipse,
    "quadratic": QuadraticForm,
    "generalized-booth": GeneralizedBooth,
    "generalized-rosenbrock": GeneralizedRosenbrock,
    "matrix-factorization": MatrixFactorization,
    "three-layer-regression": ThreeLayerRegression,
}

__all__ = [
    "BOOTH",
    "DATA_FOLDER",
    "PROBLEMS",
    "ROSENBROCK",
    "Ascent",
    "Booth",
    "Data",
    "Ellipse",
    "GeneralizedBooth",
    "GeneralizedRosenbrock",
    "MatrixFactorization",
    "Problem",
    "ProblemModule",
    "QuadraticForm",
    "Rosenbrock",
    "Run",
    "SteepestRotation",
    "SumOfSquares",
    "Teleporter",
    "ThreeLayerRegression",
    "Trajectory",
    "descend",
    "element",
    "load",
    "rotation",
    "squared_gradient",
    "where",
]
