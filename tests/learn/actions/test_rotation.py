"""Rotations of test functions drawn from the data of a task."""

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.learn.actions import Action, Rotation
from isoloss.problems import GeneralizedBooth, GeneralizedRosenbrock

EPS = torch.finfo(torch.float64).eps


def booth(data: dict[str, Tensor]) -> GeneralizedBooth:
    return GeneralizedBooth(data["matrix"], data["shift"])


def draw(n: int = 5) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    problem = GeneralizedBooth.sample((n,))
    assert isinstance(problem.shift, Tensor)
    w = {"w": torch.randn(n, 2, dtype=torch.float64)}
    return w, {"matrix": problem.matrix, "shift": problem.shift}


def bound(data: dict[str, Tensor]) -> float:
    """Some ten operations in the plane, and a solve with the matrix."""
    return 10 * 2**1.5 * EPS * torch.linalg.cond(data["matrix"]).max().item() ** 2


def test_value_stays_and_other_rotations_change_it():
    action = Rotation(booth)
    assert isinstance(action, Action)
    w, data = draw()
    g = action.group.exp(action.group.project(torch.randn(5, 2, 2, dtype=torch.float64)))
    moved = vmap(action.act)(g, w, data)
    value = vmap(lambda w, data: booth(data)(w["w"]))
    assert_close(value(moved, data), value(w, data), rtol=bound(data), atol=bound(data))
    assert (moved["w"] - w["w"]).norm() > 0.1
    plain = {"w": (g @ w["w"].unsqueeze(-1)).squeeze(-1)}
    assert (value(plain, data) - value(w, data)).abs().max() > 0.1
    assert action.units(w, data) is None


def test_group_action_and_loop():
    action = Rotation(booth)
    w, data = draw()
    g, h = (action.group.sample((5,), dtype=torch.float64) for _ in range(2))
    act = vmap(action.act)
    # The error is relative to the largest numbers on the way.
    size = 10 * max(
        t.abs().max().item() for t in (act(g, w, data)["w"], act(h @ g, w, data)["w"], data["shift"])
    )
    assert_close(act(h, act(g, w, data), data), act(h @ g, w, data), rtol=0, atol=size * bound(data))
    assert_close(
        act(action.group.identity((5,), dtype=torch.float64), w, data), w, rtol=0, atol=size * bound(data)
    )
    for i in range(5):
        alone = action.act(g[i], {"w": w["w"][i]}, {n: t[i] for n, t in data.items()})
        assert_close(alone["w"], act(g, w, data)["w"][i], rtol=0, atol=size * bound(data))


def test_derivative_is_the_closed_form():
    """d/da of h^-1(exp(a) h(w)) = A^-1 a h(w) for an affine h."""
    action = Rotation(booth)
    w, data = draw()
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    c = torch.randn(2, dtype=torch.float64)

    def along(t: Tensor, w: dict, data: dict) -> Tensor:
        return c @ action.act(action.group.exp(t * turn), w, data)["w"]

    got = vmap(grad(along), in_dims=(None, 0, 0))(torch.zeros((), dtype=torch.float64), w, data)
    for i in range(5):
        a, u = data["matrix"][i], data["matrix"][i] @ w["w"][i] + data["shift"][i]
        want = c @ torch.linalg.solve(a, turn @ u)
        assert_close(got[i], want, rtol=0, atol=bound(data) * 10 * (1 + want.abs().item()))


def test_other_names_and_functions():
    action = Rotation(lambda data: GeneralizedRosenbrock(c=data["c"]), parameter="point")
    assert action.parameters == ("point",)
    data = {"c": torch.tensor([[-2.0], [-5.0]], dtype=torch.float64)}
    w = {"point": torch.randn(2, 2, dtype=torch.float64)}
    g = action.group.sample((2,), dtype=torch.float64)
    moved = vmap(action.act)(g, w, data)
    value = vmap(lambda w, data: GeneralizedRosenbrock(c=data["c"])(w["point"]))
    # Polynomials of degree two, of numbers below 100.
    assert_close(value(moved, data), value(w, data), rtol=1e4 * EPS, atol=1e4 * EPS)
