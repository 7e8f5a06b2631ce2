"""Connected components of sets of minima."""

from isoloss.connect.minima._components import Components, components
from isoloss.connect.minima._level import LevelPath, level_path, project
from isoloss.connect.minima._linear import LinearRegression
from isoloss.connect.minima._residual import ResidualRegression

__all__ = [
    "Components",
    "LevelPath",
    "LinearRegression",
    "ResidualRegression",
    "components",
    "level_path",
    "project",
]
