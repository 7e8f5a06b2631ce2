"""What holds for every distribution in the registry."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.func import grad, jvp, vmap
from torch.testing import assert_close

from isoloss.learn.actions import Action
from isoloss.learn.tasks import TASKS, Draw, Tasks, check_tasks

names = pytest.mark.parametrize("name", TASKS)


def drawn(tasks, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = tasks.draw(n, generator)
    return draw, tasks.minibatch(draw.data, generator)


def single(tensors, i):
    return {name: t[i] for name, t in tensors.items()}


@names
def test_the_registry_knows_it_by_its_name(name):
    tasks = TASKS[name]()
    assert isinstance(tasks, Tasks) and tasks.name == name
    check_tasks(tasks, n=3)
    with pytest.raises(FrozenInstanceError):
        tasks.anything = 1


@names
def test_the_generator_decides(name):
    tasks = TASKS[name]()
    (first, seen), (again, seen_again), (other, _) = (drawn(tasks, seed=s) for s in (0, 0, 1))
    assert first.size == 3
    for one, two in ((first.parameters, again.parameters), (first.data, again.data), (seen, seen_again)):
        assert all(torch.equal(one[key], two[key]) for key in one | two)
    assert not any(torch.equal(first.parameters[key], other.parameters[key]) for key in first.parameters)
    # Tasks drawn together differ too.
    assert not any(torch.equal(t[0], t[1]) for t in first.parameters.values())


@names
def test_the_global_generator_serves_without_one(name):
    tasks = TASKS[name]()
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(tasks.draw(2).parameters)
    assert all(torch.equal(draws[0][key], draws[1][key]) for key in draws[0])


@names
def test_losses_and_gradients_of_many_are_those_of_each(name):
    tasks = TASKS[name]()
    draw, seen = drawn(tasks)
    losses = vmap(tasks.loss)(draw.parameters, seen)
    slopes = vmap(grad(tasks.loss))(draw.parameters, seen)
    assert losses.shape == (3,) and losses.isfinite().all()
    for i in range(3):
        leaves = {key: t.clone().requires_grad_() for key, t in single(draw.parameters, i).items()}
        loss = tasks.loss(leaves, single(seen, i))
        assert_close(losses[i], loss.detach())
        assert_close(tuple(single(slopes, i).values()), torch.autograd.grad(loss, tuple(leaves.values())))


@names
def test_second_derivatives_agree_forward_and_backward(name):
    """Directions and meta-gradients take both."""
    tasks = TASKS[name]()
    draw, seen = drawn(tasks)
    v = {key: torch.randn_like(t) for key, t in draw.parameters.items()}

    def forward(w, d, v):
        return jvp(lambda w: grad(tasks.loss)(w, d), (w,), (v,))[1]

    def backward(w, d, v):
        return grad(lambda w: sum((grad(tasks.loss)(w, d)[key] * v[key]).sum() for key in v))(w)

    assert_close(vmap(forward)(draw.parameters, seen, v), vmap(backward)(draw.parameters, seen, v))


@names
def test_declared_actions_keep_the_loss(name):
    """To half of the digits, what a condition number up to 1e8 may cost; half of a move costs a thousand times that."""
    tasks = TASKS[name]()
    draw, seen = drawn(tasks, 4)
    losses = vmap(tasks.loss)(draw.parameters, seen)
    for action in tasks.actions:
        assert isinstance(action, Action) and set(action.parameters) <= draw.parameters.keys()
        g = action.group.sample((4, *action.batch), scale=0.5, dtype=torch.float64)
        moved = vmap(action.act)(g, draw.parameters, seen)
        assert moved.keys() == set(action.parameters)
        assert_close(vmap(tasks.loss)(draw.parameters | moved, seen), losses, rtol=1e-8, atol=0)
        first = action.parameters[0]
        half = {first: moved[first] if len(moved) > 1 else (moved[first] + draw.parameters[first]) / 2}
        broken = vmap(tasks.loss)(draw.parameters | half, seen)
        assert ((broken - losses).abs() > 1e-5 * losses).all()


def test_who_may_be_teleported():
    groups = {name: [a.group.name for a in factory().actions] for name, factory in TASKS.items()}
    assert groups == {
        "regression": ["GL(20)"],
        "booth-fixed": ["O(2)"],
        "booth": ["O(2)"],
        "rosenbrock-fixed": ["O(2)"],
        "rosenbrock": ["O(2)"],
        "logistic": [],
        "mlp": ["R+^32", "GL(32)"],
    }


@names
@pytest.mark.parametrize("n", [0, -1, 2.0, True])
def test_no_tasks_are_refused(name, n):
    with pytest.raises(ValueError, match=r"draw: at least 1 task must be drawn; got n = "):
        TASKS[name]().draw(n)


def test_draws_know_their_size():
    assert Draw({"w": torch.zeros(7, 2)}, {}).size == 7
