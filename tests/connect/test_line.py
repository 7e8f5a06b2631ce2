"""The straight path."""

import pytest
import torch
from torch.testing import assert_close

from connect.points import draw
from isoloss.connect import Line, Path


def test_points_of_any_shape_of_times():
    a, b = {"w": draw(2, 3), "n": torch.tensor(4)}, {"w": draw(2, 3), "n": torch.tensor(9)}
    line = Line.between(a, b)
    assert isinstance(line, Path)
    t = torch.rand(3, 5, dtype=torch.float64)
    many = line(t)
    assert many["w"].shape == (3, 5, 2, 3)
    assert_close(many["w"][1, 2], (1 - t[1, 2]) * a["w"] + t[1, 2] * b["w"])
    assert torch.equal(line(0.0)["w"], a["w"]) and torch.equal(line(1.0)["w"], b["w"])
    assert (many["n"] == 4).all()  # a counter is no point of a line


def test_points_of_different_architectures_have_no_line():
    with pytest.raises(ValueError, match="Line: parameters must have the same shapes"):
        Line.between({"w": draw(2)}, {"w": draw(3)})
    with pytest.raises(ValueError, match="Line: a point must have parameters; got none"):
        Line.between({}, {})
