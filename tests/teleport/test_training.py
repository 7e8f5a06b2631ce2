"""A teleport in the training loops that people write."""

import io
import os
import shutil
from contextlib import nullcontext
from itertools import count
from math import inf

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.parallel import DistributedDataParallel
from torch.optim import LBFGS, SGD, Adafactor, Adagrad, Adam, AdamW, NAdam, RMSprop
from torch.testing import assert_close

from isoloss.teleport import Balance, GradientNorm, Teleport, always, at, every
from networks import backward, gradients, linear_symmetries, mlp, mlp_symmetries, snapshot
from ranks import leave

OPTIMIZERS = {
    "SGD": (SGD, {"lr": 0.05}),
    "momentum": (SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "Adam": (Adam, {"lr": 0.01, "amsgrad": True}),
    "AdamW": (AdamW, {"lr": 0.01}),
    "NAdam": (NAdam, {"lr": 0.01}),
    "RMSprop": (RMSprop, {"lr": 0.005, "momentum": 0.5, "centered": True}),
    "Adagrad": (Adagrad, {"lr": 0.05}),
    "Adafactor": (Adafactor, {"lr": 0.01}),
}
X, Y = (torch.randn(6, 16, n, generator=torch.Generator().manual_seed(n)) for n in (5, 3))


def same(a, b):
    assert_close(a, b, rtol=0.0, atol=0.0)


def build(name="momentum", **options):
    torch.manual_seed(7)
    model = mlp(5, 8, 7, 3)
    cls, settings = OPTIMIZERS[name]
    optimizer = cls(model.parameters(), **settings)
    return model, optimizer, Teleport(optimizer, mlp_symmetries(model), **{"schedule": every(2), **options})


def train(model, optimizer, teleport=None, steps=range(8)):
    for step in steps:
        backward(model, X[step % 6], Y[step % 6])
        if teleport is not None:
            teleport.step()
        optimizer.step()
    return snapshot(model, optimizer)


@pytest.mark.parametrize(
    "off", [{"schedule": at()}, {"radius": 0.0, "schedule": always}], ids=["never", "radius 0"]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_switched_off_it_is_the_plain_optimizer_bit_for_bit(name, off):
    model, optimizer, _ = build(name)
    same(train(*build(name, **off)), train(model, optimizer))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_switched_on_it_is_not(name):
    model, optimizer, _ = build(name)
    assert not torch.equal(train(*build(name))[0], train(model, optimizer)[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_is_bit_identical(name):
    whole = train(*build(name, generator=torch.Generator().manual_seed(1)), steps=range(9))
    model, optimizer, teleport = build(name, generator=torch.Generator().manual_seed(1))
    train(model, optimizer, teleport, steps=range(5))
    file = io.BytesIO()
    torch.save([part.state_dict() for part in (model, optimizer, teleport)], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = build(name, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for p in resumed[0].parameters():
            p.zero_()
    for part, state in zip(resumed, saved, strict=True):
        part.load_state_dict(state)
    same(train(*resumed, steps=range(5, 9)), whole)
    assert resumed[2].state_dict().keys() == {"steps", "jumps", "generator"}


def test_the_state_is_plain():
    _, _, teleport = build()
    assert teleport.state_dict() == {"steps": 0, "jumps": 0, "generator": None}


def test_moving_with_the_state_is_a_change_of_coordinates():
    """SGD with momentum, moved back by the inverse after the jump, goes where preconditioned SGD goes."""
    model, optimizer, teleport = build(schedule=at(3))
    trace = []
    for step in range(4):
        backward(model, X[step], Y[step])
        before = [p.detach().clone() for p in model.parameters()]
        buffers = [optimizer.state[p].get("momentum_buffer") for p in model.parameters()]
        trace = [(b, None if m is None else m.clone()) for b, m in zip(before, buffers, strict=True)]
        teleport.step()
        optimizer.step() if step < 3 else None
    for p, (before, momentum) in zip(model.parameters(), trace, strict=True):
        # <momentum, parameter> is the same in all coordinates: one moves by g, the other by g^-T.
        moved = optimizer.state[p]["momentum_buffer"]
        assert_close(torch.sum(moved * p.detach()), torch.sum(momentum * before), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["transport", "keep", "reset"])
def test_policies(policy):
    model, optimizer, teleport = build("Adam", schedule=at(4), momentum=policy, second_moments=policy)
    train(model, optimizer, teleport, steps=range(4))
    backward(model, X[4], Y[4])
    state = optimizer.state[model[0].weight]
    before = {k: v.clone() for k, v in state.items()}
    teleport.step()
    if policy == "keep":
        same(state, before)
    elif policy == "reset":
        assert all((v == 0).all() for v in state.values())
    else:
        # Every row of the first weight has moved by exp(+-0.1): its gradients by the inverse, the squares twice.
        ratio = state["exp_avg"] / before["exp_avg"]
        assert_close(ratio.log().abs(), torch.full_like(ratio, 0.1), rtol=1e-4, atol=0.0)
        assert_close(state["exp_avg_sq"], ratio.square() * before["exp_avg_sq"], rtol=1e-5, atol=0.0)
        assert state["step"] == before["step"]


def test_a_reset_without_a_move_is_a_control():
    model, optimizer, teleport = build(
        "Adam", schedule=at(4), radius=0.0, momentum="reset", second_moments="reset"
    )
    here = train(model, optimizer, teleport, steps=range(4))[:6]
    backward(model, X[4], Y[4])
    teleport.step()
    same([p.detach() for p in model.parameters()], here)
    assert all((v == 0).all() for p in model.parameters() for v in optimizer.state[p].values())


def test_gradients_may_accumulate_across_a_jump():
    model, _, teleport = build(schedule=always)
    model.double()
    backward(model, X[0].double(), Y[0].double())
    teleport.step()
    mse_loss(model(X[1].double()), Y[1].double()).backward()
    found = gradients(model)
    model.zero_grad()
    (mse_loss(model(X[0].double()), Y[0].double()) + mse_loss(model(X[1].double()), Y[1].double())).backward()
    assert_close(found, gradients(model))


def test_clipping_comes_after():
    model, _, teleport = build(schedule=always)
    backward(model, X[0], Y[0])
    jump = teleport.step()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    assert norm.item() == pytest.approx(jump.gradient_norm_after, rel=1e-5)
    assert nn.utils.get_total_norm(gradients(model).values()).item() == pytest.approx(0.01, rel=1e-4)


def test_schedulers_set_the_rates_that_weigh_the_gradients():
    model, _, _ = build()
    optimizer = SGD(
        [{"params": model[:3].parameters(), "lr": 0.1}, {"params": model[3:].parameters(), "lr": 0.1}]
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda epoch: 1.0, lambda epoch: 0.5**epoch])
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always)
    seen = []
    for step in range(3):
        backward(model, X[step], Y[step])
        squares = [
            sum(p.grad.square().sum().item() for p in part.parameters()) for part in (model[:3], model[3:])
        ]
        seen.append(teleport.step().before)
        assert seen[-1] == pytest.approx(squares[0] + 0.5**step * squares[1], rel=1e-5)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("when", ["before unscale", "after unscale", "in a hook"])
def test_a_scaler_makes_no_difference(when):
    reference = train(*build(schedule=always))
    model, optimizer, teleport = build(schedule=always)
    if when == "in a hook":
        teleport.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(8):
        model.zero_grad()
        scaler.scale(mse_loss(model(X[step % 6]), Y[step % 6])).backward()
        if when == "before unscale":
            teleport.step()
        scaler.unscale_(optimizer)
        if when == "after unscale":
            teleport.step()
        scaler.step(optimizer)
        scaler.update()
    # A scale that is a power of two rounds nothing.
    same(snapshot(model, optimizer), reference)


def test_a_step_that_the_scaler_skips_is_skipped_too():
    model, optimizer, teleport = build(schedule=always)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    model.zero_grad()
    scaler.scale(100 * mse_loss(model(X[0]), Y[0])).backward()
    before = [p.detach().clone() for p in model.parameters()]
    assert teleport.step().skipped
    scaler.step(optimizer)
    same([p.detach() for p in model.parameters()], before)


def test_autocast_keeps_its_parameters_and_its_outputs():
    model, optimizer, teleport = build(schedule=always)
    for step in range(4):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = mse_loss(model(X[step]).float(), Y[step])
        loss.backward()
        before = model(X[step]).detach()
        teleport.step()
        assert_close(model(X[step]), before)
        optimizer.step()
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_parameters_in_half_precision_are_rounded_once_per_jump():
    model, _, _ = build()
    model.bfloat16()
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always)
    x, y = X[0].bfloat16(), Y[0].bfloat16()
    for _ in range(2):
        backward(model, x, y)
        optimizer.step()
    backward(model, x, y)
    exact = mlp(5, 8, 7, 3)
    exact.load_state_dict({n: t.float() for n, t in model.state_dict().items()})
    before = exact(X[0]).detach()
    jump = teleport.step()
    assert jump.gradient_norm_after > jump.gradient_norm_before
    exact.load_state_dict({n: t.float() for n, t in model.state_dict().items()})
    # Every weight of three layers is rounded to 8 bits: relative errors of 2^-9 each, which add up.
    error = (exact(X[0]) - before).norm() / before.norm()
    assert error <= 3 * 2.0**-9


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_follows(backend):
    torch.compiler.reset()
    model, optimizer, teleport = build(schedule=always)
    forward = torch.compile(model, backend=backend)
    for step in range(4):
        model.zero_grad()
        mse_loss(forward(X[step]), Y[step]).backward()
        teleport.step()
        optimizer.step()
    # The tracer may fuse a bias into its product, or take it apart: rounding, over four steps.
    assert_close(
        snapshot(model, optimizer), train(*build(schedule=always), steps=range(4)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_compiled_kernels_see_the_moved_weights():
    torch.compiler.reset()
    model, _, teleport = build(schedule=always, radius=0.5)
    forward = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        before = forward(X[0])
    backward(model, X[0], Y[0])
    here = model[0].weight.detach().clone()
    teleport.step()
    with torch.no_grad(), torch.compiler.set_stance("fail_on_recompile"):
        assert_close(forward(X[0]), before)
    assert not torch.allclose(model[0].weight, here)
    # They read the weights in place: another scale shows.
    with torch.no_grad(), torch.compiler.set_stance("fail_on_recompile"):
        model[4].weight.mul_(2.0)
        model[4].bias.mul_(2.0)
        assert_close(forward(X[0]), 2 * before)


def test_attached_it_needs_no_call():
    model, optimizer, teleport = build()
    handle = teleport.attach()
    same(train(model, optimizer), train(*build()))
    assert teleport.steps == 8
    handle.remove()
    train(model, optimizer)
    assert teleport.steps == 8


@pytest.mark.parametrize("keyword", [False, True], ids=["positional", "keyword"])
def test_attached_it_jumps_between_the_closure_and_the_step(keyword):
    model, optimizer, teleport = build()
    teleport.attach()
    steps = count()

    def closure():
        step = next(steps)
        return backward(model, X[step % 6], Y[step % 6])

    for _ in range(8):
        loss = optimizer.step(closure=closure) if keyword else optimizer.step(closure)
    assert next(steps) == 8
    assert loss.ndim == 0
    same(snapshot(model, optimizer), train(*build()))


def minimize(model, optimizer):
    """One step of an optimizer that calls its closure as often as it likes; the losses that it saw."""
    losses = []

    def closure():
        x, y = (t[0].to(next(model.parameters()).dtype) for t in (X, Y))
        losses.append(backward(model, x, y))
        return losses[-1]

    optimizer.step(closure)
    return losses


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_attached_to_lbfgs_it_jumps_once_a_step_and_then_begins_anew(search):
    """After a jump LBFGS goes where a new one goes from there; without a jump it goes on as if alone."""
    options = {"lr": 0.2, "max_iter": 6, "line_search_fn": search}
    model, alone, other = (mlp(5, 8, 7, 3).double() for _ in range(3))
    alone.load_state_dict(model.state_dict())
    optimizer, plain = LBFGS(model.parameters(), **options), LBFGS(alone.parameters(), **options)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=at(2, 4))
    teleport.attach()
    for step in range(6):
        if step in (2, 4):
            other.load_state_dict(model.state_dict())
            backward(other, X[0].double(), Y[0].double())
            Teleport(SGD(other.parameters()), mlp_symmetries(other), schedule=always).step()
            plain, alone = LBFGS(other.parameters(), **options), other
        seen, expected = (minimize(m, o) for m, o in ((model, optimizer), (alone, plain)))
        assert len(seen) == len(expected) > 3
        # Gradients that were moved differ from those computed there by rounding, which six steps magnify little.
        assert_close(list(model.parameters()), list(alone.parameters()), rtol=1e-8, atol=1e-10)
    assert (teleport.steps, teleport.jumps) == (6, 2)


def test_lbfgs_keeps_its_history_where_nothing_moves():
    runs = []
    for schedule, radius in ((at(), None), (always, 0.0)):
        torch.manual_seed(7)
        model = mlp(5, 8, 7, 3)
        optimizer = LBFGS(model.parameters(), lr=0.2, max_iter=4)
        Teleport(optimizer, mlp_symmetries(model), schedule=schedule, radius=radius).attach()
        for _ in range(3):
            minimize(model, optimizer)
        runs.append(snapshot(model))
    same(*runs)


def test_matrices_move_the_state_as_well():
    """A linear network under Adam: the jump is exact, and what follows stays finite."""
    model = mlp(5, 8, 7, 3, activation=nn.Identity)
    optimizer = Adam(model.parameters(), lr=0.01)
    teleport = Teleport(optimizer, linear_symmetries(model), schedule=every(2))
    losses = [backward(model, X[0], Y[0]).item()]
    for _ in range(30):
        before = model(X[0]).detach()
        teleport.step()
        assert_close(model(X[0]), before, rtol=1e-4, atol=1e-5)
        optimizer.step()
        losses.append(backward(model, X[0], Y[0]).item())
    assert losses[-1] < losses[0]


def test_balancing_before_training_needs_no_gradient():
    model, optimizer, _ = build()
    with torch.no_grad():
        model[0].weight.mul_(30.0)
        model[0].bias.mul_(30.0)
        model[2].weight.div_(30.0)
    before = model(X[0]).detach()
    jump = Teleport(optimizer, mlp_symmetries(model), Balance(), always).step()
    assert jump.after < 0.1 * jump.before
    assert_close(model(X[0]), before)


def test_lowering_the_gradient_norm_for_long_is_calm():
    model, optimizer, teleport = build("SGD", objective=GradientNorm(lower=True), schedule=always)
    for jump in (teleport.step() for _ in _backwards(model, 20)):
        assert jump.after <= jump.before * (1 + 1e-6)


@pytest.mark.parametrize(("rate", "trained"), [(0.1, 0.6), (0.5, 0.6), (1.0, inf)])
def test_the_default_radius_is_safe_where_plain_sgd_trains(rate, trained):
    """Four jumps in the first epoch on the digits. Plain SGD is at its best near 0.5, unsteady at 1, lost at 1.4."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16 - 0.3).float(), torch.tensor(labels)

    def final(**options):
        torch.manual_seed(1)
        model = mlp(64, 128, 128, 10)
        optimizer = SGD(model.parameters(), lr=rate)
        teleport = Teleport(optimizer, mlp_symmetries(model), **options)
        for _ in range(2):
            for batch in torch.randperm(len(x)).split(20):
                optimizer.zero_grad()
                cross_entropy(model(x[batch]), y[batch]).backward()
                teleport.step()
                optimizer.step()
        with torch.no_grad():
            return cross_entropy(model(x), y).item()

    plain, teleported = final(schedule=at()), final(schedule=every(22, until=88))
    assert plain < trained and teleported < trained


def _backwards(model, n):
    for step in range(n):
        yield backward(model, X[step % 6], Y[step % 6])


# ---------------------------------------------------------------- two ranks


def rank_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model, optimizer, teleport = build("Adam", schedule=always)
    parallel = DistributedDataParallel(model)
    for step in range(4):
        optimizer.zero_grad()
        half = slice(8 * rank, 8 * rank + 8)
        context = parallel.no_sync() if step == 1 else nullcontext()
        with context:
            mse_loss(parallel(X[step, half]), Y[step, half]).backward()
        if step == 1:  # gradient accumulation: the second half of this step synchronizes
            mse_loss(parallel(X[5, half]), Y[5, half]).backward()
        teleport.step()
        optimizer.step()
    torch.save(snapshot(model, optimizer), os.path.join(folder, f"rank{rank}.pt"))
    leave()


def test_two_ranks_stay_together(tmp_path):
    mp.spawn(rank_of_two, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    same(first, second)
    model, optimizer, teleport = build("Adam", schedule=always)
    for step in range(4):
        model.zero_grad()
        mse_loss(model(X[step]), Y[step]).backward()
        if step == 1:
            mse_loss(model(X[5]), Y[5]).backward()
        teleport.step()
        optimizer.step()
    # The mean of two means is the mean up to rounding; four Adam steps of 0.01 magnify that by no more than 1e3.
    assert_close(first, snapshot(model, optimizer), rtol=1e-3, atol=1e-4)
