"""A user's own module, loss and data as tasks."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, mse_loss
from torch.testing import assert_close

from isoloss.learn.tasks import ModuleTasks, check_tasks


def mlp():
    return nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 2)).double()


def regression(n, generator):
    x = torch.randn(n, 9, 3, generator=generator, dtype=torch.float64)
    return x, x[..., :2].sin()


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).double()


def pictures(n, generator):
    x = torch.randn(n, 5, 1, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (n, 5), generator=generator)


NETS = {"mlp": (mlp, mse_loss, regression), "conv net": (cnn, cross_entropy, pictures)}
nets = pytest.mark.parametrize(("make", "criterion", "sample"), NETS.values(), ids=NETS)


@nets
def test_loss_and_gradient_are_those_of_the_module(make, criterion, sample):
    module = make()
    tasks = ModuleTasks(module, criterion, sample)
    check_tasks(tasks, n=4)
    drawn = tasks.draw(4, torch.Generator().manual_seed(0))
    losses = vmap(tasks.loss)(drawn.parameters, drawn.data)
    slopes = vmap(grad(tasks.loss))(drawn.parameters, drawn.data)
    for i in range(4):
        with torch.no_grad():
            for name, p in module.named_parameters():
                p.copy_(drawn.parameters[name][i])
        module.zero_grad()
        loss = criterion(module(drawn.data["inputs"][i]), drawn.data["targets"][i])
        loss.backward()
        assert_close(losses[i], loss.detach())
        for name, p in module.named_parameters():
            assert_close(slopes[name][i], p.grad)


@nets
def test_found_actions_keep_the_loss_on_all_data(make, criterion, sample):
    tasks = ModuleTasks(make(), criterion, sample, teleport=True)
    drawn = tasks.draw(4)
    losses = vmap(tasks.loss)(drawn.parameters, drawn.data)
    assert [a.group.name for a in tasks.actions] == (["R+^6"] if make is mlp else ["R+^4", "R+^4"])
    for action in tasks.actions:
        g = action.group.sample((4,), dtype=torch.float64)
        moved = vmap(action.act)(g, drawn.parameters, drawn.data)
        # A scaling rounds every weight twice, and sums of at most 36 terms see that.
        assert_close(vmap(tasks.loss)(drawn.parameters | moved, drawn.data), losses, rtol=1e-13, atol=1e-15)
        first = {action.parameters[0]: moved[action.parameters[0]]}
        assert ((vmap(tasks.loss)(drawn.parameters | first, drawn.data) - losses).abs() > 1e-4 * losses).all()


def test_nothing_teleports_unless_asked():
    tasks = ModuleTasks(mlp(), mse_loss, regression)
    assert tasks.actions == ()
    found = replace(tasks, teleport=True).actions
    assert replace(tasks, teleport=found).actions is found


def test_the_module_stays_as_it_is():
    module = mlp()
    kept = {name: p.clone() for name, p in module.named_parameters()}
    tasks = ModuleTasks(module, mse_loss, regression, teleport=True)
    check_tasks(tasks)
    assert all(torch.equal(p, kept[name]) and p.grad is None for name, p in module.named_parameters())


def test_frozen_parameters_are_no_weights_of_the_optimizee():
    module = mlp()
    module[0].requires_grad_(False)
    tasks = ModuleTasks(module, mse_loss, regression)
    drawn = tasks.draw(2)
    assert list(drawn.parameters) == ["2.weight", "2.bias"]
    whole = dict(module.named_parameters()) | {name: t[1] for name, t in drawn.parameters.items()}
    output = functional_call(module, whole, (drawn.data["inputs"][1],))
    assert_close(
        vmap(tasks.loss)(drawn.parameters, drawn.data)[1], mse_loss(output, drawn.data["targets"][1])
    )


class Bare(nn.Module):
    """A weight that no reset_parameters draws."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, 2, dtype=torch.float64))

    def forward(self, x):
        return x @ self.w


def test_a_callable_may_draw_the_weights():
    def draw(n, generator):
        return {"w": torch.randn(n, 3, 2, generator=generator, dtype=torch.float64)}

    tasks = ModuleTasks(Bare(), mse_loss, regression, draw)
    check_tasks(tasks)
    with pytest.raises(ValueError, match="must have reset_parameters; got Bare, the owner of w, without"):
        ModuleTasks(Bare(), mse_loss, regression)
    with pytest.raises(ValueError, match="initialize must return the parameters .*, w; got v. Others"):
        ModuleTasks(Bare(), mse_loss, regression, lambda n, g: {"v": torch.zeros(n)}).draw(2)


def test_a_step_sees_a_batch():
    tasks = ModuleTasks(mlp(), mse_loss, regression, batch=4)
    data = tasks.draw(2).data
    seen = tasks.minibatch(data, torch.Generator().manual_seed(0))
    assert seen["inputs"].shape == (2, 4, 3)
    assert_close(seen["inputs"][..., :2].sin(), seen["targets"])
    assert replace(tasks, batch=None).minibatch(data) is data


def test_batch_norm_needs_eval_mode():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    with pytest.raises(
        ValueError, match=r"got running statistics of 1 \(BatchNorm1d\) in training mode. Call eval"
    ):
        ModuleTasks(module, mse_loss, regression)
    check_tasks(ModuleTasks(module.eval(), mse_loss, regression))
    # Without running statistics, it trains on those of the batch.
    check_tasks(
        ModuleTasks(
            nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)).double(),
            mse_loss,
            regression,
        )
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"module": nn.Linear}, TypeError, "module must be a torch.nn.Module; got type"),
        ({"module": nn.ReLU()}, ValueError, "some parameter must require gradients; got ReLU with none"),
        ({"batch": 0}, ValueError, "batch must be at least 1; got 0"),
    ],
    ids=["a class", "no parameters", "batch"],
)
def test_what_makes_no_task_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        ModuleTasks(**{"module": mlp(), "criterion": mse_loss, "sample_data": regression} | changes)


def test_samplers_return_pairs():
    with pytest.raises(
        TypeError, match="sample_data must return two tensors, inputs and targets; got Tensor"
    ):
        ModuleTasks(mlp(), mse_loss, lambda n, g: torch.zeros(n, 4, 3)).draw(2)
