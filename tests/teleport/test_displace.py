"""Moves without a symmetry, and moves that change the loss: applied whole, or not at all."""

import os
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam
from torch.testing import assert_close

from isoloss import find
from isoloss.teleport import Solution, Teleport, TransportedAscent, always
from networks import backward, gradients, mlp, mlp_symmetries, snapshot
from ranks import leave


def same(a, b):
    assert_close(a, b, rtol=0.0, atol=0.0)


class Shift(TransportedAscent):
    """Adds a number to every entry of some parameters: no symmetry of anything."""

    def __init__(self, by, names=("0.weight", "4.bias"), gradients=None):
        object.__setattr__(self, "answer", (by, names, gradients))

    def solve(self, objective, symmetries, scalings, point, radius, generator=None):
        by, names, known = self.answer
        value = torch.tensor(1.0, dtype=torch.float64)
        displaced = {n: point.tensors[n] + by if n in point.tensors else torch.zeros(1) for n in names}
        return Solution([None] * len(symmetries), value, value + 1, value, displaced, known)


def ready(cls=Adam, steps=2):
    model = mlp(5, 8, 7, 3).double()
    optimizer = cls(model.parameters(), lr=0.05)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    for _ in range(steps):
        backward(model, x, y)
        optimizer.step()
    backward(model, x, y)
    return model, optimizer, x, y, lambda: nn.functional.mse_loss(model(x), y)


def test_a_displacement_moves_parameters_and_renews_the_gradients():
    model, optimizer, x, y, loss = ready()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    state = [v.clone() for s in optimizer.state.values() for v in s.values()]
    jump = Teleport(optimizer, mlp_symmetries(model), schedule=always, solver=Shift(0.1), loss=loss).step()
    for n, p in model.named_parameters():
        same(p.detach(), before[n] + 0.1 if n in ("0.weight", "4.bias") else before[n])
    found = gradients(model)
    backward(model, x, y)
    assert_close(found, gradients(model), rtol=1e-12, atol=1e-14)
    assert jump.gradient_norm_after == pytest.approx(nn.utils.get_total_norm(found.values()).item())
    assert jump.skipped is None and (jump.before, jump.after) == (1.0, 2.0)
    same([v for s in optimizer.state.values() for v in s.values()], state)


def test_gradients_that_the_solver_knows_cost_no_pass():
    model, optimizer, *_ = ready()
    known = {n: torch.full_like(p, 3.0) for n, p in model.named_parameters()}
    Teleport(optimizer, mlp_symmetries(model), schedule=always, solver=Shift(0.1, gradients=known)).step()
    same(gradients(model), known)


def test_policies_reset_the_state_of_what_is_displaced():
    model, optimizer, *_, loss = ready()
    options = {"momentum": "reset", "second_moments": "reset"}
    Teleport(
        optimizer, mlp_symmetries(model), schedule=always, solver=Shift(0.1), loss=loss, **options
    ).step()
    assert all((v == 0).all() for s in optimizer.state.values() for v in s.values())


def test_gradients_that_are_absent_stay_absent():
    model, optimizer, *_, loss = ready()
    model[2].weight.grad = None
    Teleport(optimizer, mlp_symmetries(model), schedule=always, solver=Shift(0.1), loss=loss).step()
    assert model[2].weight.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": Shift(0.1)}, r"Teleport.step: must evaluate the loss.*; got none; give Teleport\("),
        ({"solver": Shift(0.1, ("9.weight",)), "loss": True}, "displaces what the optimizer trains; got 9.weight"),
        ({"solver": Shift(torch.inf), "loss": True}, "a move must give finite values; got inf or nan in 0.weight"),
    ],
    ids=["no loss", "unknown name", "not finite"],
)  # fmt: skip
def test_displacements_that_fail_change_nothing(options, message):
    model, optimizer, *_, loss = ready()
    before = snapshot(model, optimizer)
    options = options | ({"loss": loss} if "loss" in options else {})
    with pytest.raises(ValueError, match=message):
        Teleport(optimizer, mlp_symmetries(model), schedule=always, **options).step()
    same(snapshot(model, optimizer), before)


# ---------------------------------------------------------------- the bound on the change of the loss


@pytest.mark.parametrize("solver", ["elements", "displaced"])
def test_beyond_the_bound_everything_is_rolled_back(solver):
    model, optimizer, *_, loss = ready()
    if solver == "elements":
        # Half of a symmetry: the outgoing weights stay behind, and the loss changes.
        whole = mlp_symmetries(model)
        symmetries = whole._with([replace(s, slots=s.slots[:2]) for s in whole])
        options = {"momentum": "transport"}
    else:
        symmetries, options = mlp_symmetries(model), {"solver": Shift(0.3), "momentum": "reset"}
    before = snapshot(model, optimizer)
    teleport = Teleport(optimizer, symmetries, schedule=always, loss=loss, max_loss_change=1e-3, **options)
    jump = teleport.step()
    assert (
        jump.skipped.startswith("the loss went from ") and "by more than 0.001 of it; undone" in jump.skipped
    )
    assert abs(jump.loss_after - jump.loss_before) > 1e-3 * jump.loss_before
    assert (teleport.steps, teleport.jumps) == (1, 0)
    same(snapshot(model, optimizer), before)
    teleport.max_loss_change = 10.0
    assert teleport.step().skipped is None
    assert not torch.equal(snapshot(model, optimizer)[0], before[0])


def test_exact_symmetries_pass_the_strictest_bound():
    model, optimizer, *_, loss = ready()
    options = {"schedule": always, "loss": loss, "max_loss_change": 1e-12}
    jump = Teleport(optimizer, mlp_symmetries(model), **options).step()
    assert jump.skipped is None
    assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-12)
    assert jump.gradient_norm_after > jump.gradient_norm_before


def test_a_loss_that_fails_after_the_move_undoes_it():
    model, optimizer, x, y, loss = ready()
    calls = iter([loss, loss, None])
    teleport = Teleport(
        optimizer,
        mlp_symmetries(model),
        schedule=always,
        solver=Shift(0.1, gradients=gradients(model)),
        loss=lambda: next(calls)() * 1.0,
        max_loss_change=1.0,
    )
    before = snapshot(model, optimizer)
    next(calls)
    with pytest.raises(TypeError):
        teleport.step()
    same(snapshot(model, optimizer), before)


@pytest.mark.parametrize(
    "options", [{"max_loss_change": 0.1}, {"max_loss_change": -1.0, "loss": lambda: 0.0}]
)
def test_bad_bounds_are_refused(options):
    model, optimizer, *_ = ready(SGD)
    with pytest.raises(ValueError, match="max_loss_change must not be negative, and needs the loss"):
        Teleport(optimizer, mlp_symmetries(model), **options)


# ---------------------------------------------------------------- in the loops that people write


def test_a_scaled_loss_gives_scaled_gradients():
    """With a GradScaler the closure returns what backward() was called on, and unscale_ works as ever."""
    model, optimizer, x, y, loss = ready(SGD, steps=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizer.zero_grad()
    scaler.scale(loss()).backward()
    options = {"loss": lambda: scaler.scale(loss()), "max_loss_change": 10.0}
    jump = Teleport(optimizer, mlp_symmetries(model), schedule=always, solver=Shift(0.1), **options).step()
    assert jump.skipped is None
    scaler.unscale_(optimizer)
    found = gradients(model)
    backward(model, x, y)
    assert_close(found, gradients(model), rtol=1e-12, atol=1e-14)


def test_running_statistics_are_not_touched():
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    optimizer = SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    backward(model, x, y)
    before = [b.clone() for b in model.buffers()]
    solver = Shift(0.1, ("0.weight", "2.bias"))
    options = {"loss": lambda: nn.functional.mse_loss(model(x), y), "max_loss_change": 10.0}
    assert (
        Teleport(optimizer, find(model, x), schedule=always, solver=solver, **options).step().skipped is None
    )
    same(list(model.buffers()), before)
    assert model[1].track_running_stats


class Downhill(TransportedAscent):
    """A step against the gradient of the loss, which differs from rank to rank."""

    def solve(self, objective, symmetries, scalings, point, radius, generator=None):
        here = {n: t.clone().requires_grad_() for n, t in point.tensors.items()}
        with torch.enable_grad():
            loss = point.loss(here)
            slopes = torch.autograd.grad(loss, list(here.values()))
        displaced = {n: t.detach() - 0.3 * g for (n, t), g in zip(here.items(), slopes, strict=True)}
        value = loss.detach()
        return Solution([None] * len(symmetries), value, value, value, displaced)


def rank_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = mlp(5, 8, 3).double()
    optimizer = SGD(model.parameters(), lr=0.1)
    parallel = DistributedDataParallel(model)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    half = slice(8 * rank, 8 * rank + 8)
    loss = lambda: nn.functional.mse_loss(parallel(x[half]), y[half])  # noqa: E731
    loss().backward()
    kept = []
    for bound in (10.0, 1e-9):
        options = {"loss": loss, "max_loss_change": bound, "solver": Downhill()}
        jump = Teleport(optimizer, mlp_symmetries(model), schedule=always, **options).step()
        kept.append([jump.skipped is None, jump.loss_before, jump.loss_after])
    with torch.no_grad():
        whole = nn.functional.mse_loss(model(x), y).item()
    torch.save([snapshot(model), kept, whole], os.path.join(folder, f"rank{rank}.pt"))
    leave()


def test_two_ranks_move_alike_and_judge_alike(tmp_path):
    """The first rank's move, the mean of the gradients and of the losses; a bound holds for both or for none."""
    mp.spawn(rank_of_two, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    same(first[0], second[0])
    assert first[1] == second[1]
    assert [kept for kept, *_ in first[1]] == [True, False]
    # The mean over the halves is the mean over all.
    assert first[1][0][2] == pytest.approx(first[2], rel=1e-13)
    torch.manual_seed(0)
    model = mlp(5, 8, 3).double()
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    with torch.no_grad():
        for p, moved in zip(model.parameters(), first[0], strict=False):
            p.copy_(moved)
    backward(model, x, y)
    assert_close(list(gradients(model).values()), first[0][4:], rtol=1e-12, atol=1e-14)
