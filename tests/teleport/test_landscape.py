"""The objective and the loss at any parameters."""

import torch
from torch import nn
from torch.testing import assert_close

from isoloss.teleport import Custom, GradientNorm
from isoloss.teleport._landscape import Landscape, dot, norm, plus
from networks import mlp
from teleport.solvers.solving import point_of


def network():
    model = mlp(4, 5, 3, activation=nn.Tanh).double()
    return point_of(model, torch.randn(6, 4).double(), torch.randn(6, 3).double())


def test_the_slope_of_the_gradient_norm_is_twice_a_hessian_vector_product():
    point = network()
    landscape = Landscape(GradientNorm(), point, "here")
    w = {n: t + 0.1 * torch.randn_like(t) for n, t in landscape.here.items()}
    value, slope = landscape.slope(w)
    loss, gradient = landscape.gradient(w)
    assert_close(loss, point.loss(w))
    assert_close(value, sum(g.square().sum() for g in gradient.values()))
    leaves = {n: t.clone().requires_grad_() for n, t in w.items()}
    found = torch.autograd.grad(point.loss(leaves), list(leaves.values()), create_graph=True)
    inner = sum((g * h.detach()).sum() for g, h in zip(found, found, strict=True))
    product = torch.autograd.grad(inner, list(leaves.values()))
    assert_close(slope, {n: 2 * h for n, h in zip(leaves, product, strict=True)}, rtol=1e-10, atol=1e-13)


def test_what_does_not_depend_on_a_parameter_has_no_slope_there():
    point = network()
    landscape = Landscape(Custom(lambda _, w: w["0.bias"].sum()), point, "here")
    _, slope = landscape.slope(landscape.here)
    assert slope.keys() == point.tensors.keys()
    assert [n for n, s in slope.items() if s.abs().max() > 0] == ["0.bias"]


def test_vectors():
    x, y = ({"a": torch.randn(2, 3), "b": torch.randn(4)} for _ in range(2))
    flat = [torch.cat([t.reshape(-1) for t in v.values()]).double() for v in (x, y)]
    assert abs(dot(x, y) - float(flat[0] @ flat[1])) < 1e-12
    assert abs(norm(x) - float(flat[0].norm())) < 1e-12
    assert_close(plus(x, 2.0, y), {n: x[n] + 2.0 * y[n] for n in x})
