"""A meta-optimizer as an optimizer of any model."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, leaky_relu

import isoloss
from isoloss.groups import PositiveScaling
from isoloss.learn import Design, Exact, LearnedOptimizer, MetaOptimizer, Recipe, evaluate, meta_train
from isoloss.learn.tasks import TwoLayerRegression

TASKS = TwoLayerRegression(6)
STEPS = 50


class Net(nn.Module):
    """The regression as a module, by the names of the task."""

    def __init__(self, draw):
        super().__init__()
        self.W1, self.W2 = (nn.Parameter(draw.parameters[name][0].clone()) for name in ("W1", "W2"))

    def forward(self, x):
        return self.W2 @ leaky_relu(self.W1 @ x, TASKS.slope)


def changed(design, scale=0.1, tasks=TASKS, actions=None):
    """A meta-optimizer whose outputs are not zero, as they are before training."""
    torch.manual_seed(0)
    meta = MetaOptimizer.of(design, tasks)
    with torch.no_grad():
        for p in meta.parameters():
            p.add_(scale * torch.randn_like(p))
    return meta


def drawn(n=1):
    return TASKS.draw(n, torch.Generator().manual_seed(1))


def regression(draw):
    net, data = Net(draw), {name: t[0] for name, t in draw.data.items()}

    def loss():
        return (data["Y"] - net(data["X"])).square().sum() / 2

    return net, data, loss


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def walk(optimizer, loss, steps=STEPS, data=None, closure=True):
    losses = []
    asked = closure_of(optimizer, loss)
    for _ in range(steps):
        if closure:
            losses.append(optimizer.step(asked, data=data).item())
        else:
            losses.append(asked().item())
            optimizer.step(data=data)
    return torch.tensor([*losses, loss().item()], dtype=torch.float64)


DESIGNS = {
    "update": Design(variant=("update",)),
    "lr,momentum": Design(variant=("lr", "momentum")),
    "update,tele before": Design(teleport_at=(0, 7), tolerance=1e-3),
    "update,tele after": Design(teleport_at=(0, 7), order="after"),
    "pushed velocity": Design(
        variant=("update", "momentum", "tele"), teleport_at=(3,), order="after", velocity="push"
    ),
    "with the loss": Design(directions=("gradient-norm", "lookahead"), teleport_at=(0, 7), radius=0.5),
    "with the loss, after": Design(directions=("lookahead",), teleport_at=(0, 7), radius=0.5, order="after"),
    "whole": Design(network="whole", hidden=5, teleport_at=(2,), radius=0.3),
    "published": Design.published("update", "tele"),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_it_takes_the_steps_of_evaluation(name):
    """Sums are in another order in batched products, and a step multiplies an error by at most a small factor."""
    design, draw = DESIGNS[name], drawn()
    # Published steps are bounded by nothing.
    meta = changed(design, 0.001 if name == "published" else 0.1)
    expected = evaluate(meta, TASKS, draw, STEPS)
    net, data, loss = regression(draw)
    known = TASKS.loss if "with the loss" in name else None
    optimizer = LearnedOptimizer(net, meta, TASKS.actions, loss=known)
    losses = walk(optimizer, loss, data=data)
    assert losses.isfinite().all()
    torch.testing.assert_close(losses, expected.losses[:, 0], rtol=1e-6, atol=1e-9)
    if "tele" in design.variant:
        # What is compared includes teleports that were not refused.
        assert expected.sizes.max() > 1e-3


def scalings():
    return Exact(TwoLayerRegression(6, scalings=True).actions[0].symmetry)


@pytest.mark.parametrize("order", ["before", "after"])
def test_exact_teleports_need_neither_closure_nor_loss(order):
    design = Design(teleport_at=(0, 7), order=order)
    meta, draw = changed(design), drawn()
    tasks = OnlyScalings(6)
    expected = evaluate(meta, tasks, draw, STEPS)
    net, _, loss = regression(draw)
    losses = walk(LearnedOptimizer(net, meta, [scalings()]), loss, closure=False)
    torch.testing.assert_close(losses, expected.losses[:, 0], rtol=1e-6, atol=1e-9)
    assert expected.sizes.min() > 1e-3


class OnlyScalings(TwoLayerRegression):
    @property
    def actions(self):
        return (scalings(),)


def test_an_exact_teleport_calls_the_closure_once():
    net, _, loss = regression(drawn())
    optimizer = LearnedOptimizer(net, changed(Design(teleport_at=(0,))), [scalings()])
    calls = []

    def closure():
        calls.append(1)
        return closure_of(optimizer, loss)()

    optimizer.step(closure)
    assert len(calls) == 1


def test_transported_gradients_are_those_at_the_moved_point():
    """Of an action that is not linear, too: translations that pass through a weight."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 4), nn.Linear(4, 2)).double()
    x, y = torch.randn(8, 3).double(), torch.randn(8, 2).double()
    meta = changed(Design(teleport_at=(0, 2), growth=1e6))
    nets, losses = [copy.deepcopy(net), copy.deepcopy(net)], []
    for i, own in enumerate(nets):

        def known(w, data, own=own):
            return (functional_call(own, w, (x,)) - y).square().mean()

        found = isoloss.find(own, x)
        optimizer = LearnedOptimizer(own, meta, symmetries=found)
        assert len(optimizer.actions) > 1
        if i:  # the same groups under another type, about which nothing is known
            others = [Unknown(a) for a in optimizer.actions]
            optimizer = LearnedOptimizer(own, meta, others, loss=known)
        losses.append(walk(optimizer, lambda own=own: (own(x) - y).square().mean(), 10, data={}))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-8, atol=1e-12)


class Unknown:
    """An action that does not say that it is exact."""

    def __init__(self, action):
        self.inner, self.sees_units = action, False
        for name in ("name", "group", "batch", "parameters"):
            setattr(self, name, getattr(action, name))

    def act(self, g, parameters, data):
        return self.inner.act(g, parameters, data)

    def units(self, parameters, data):
        return None


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    tasks = TwoLayerRegression(6, dtype=torch.float32)
    meta = MetaOptimizer.of(Design(), tasks)
    return meta_train(meta, tasks, Recipe(runs=4, batch=4, horizon=10, unroll=10, validate=0)).meta


def image_net(kind):
    torch.manual_seed(0)
    if kind == "perceptron":
        return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3)), torch.randn(64, 10)
    return (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3)),
        torch.randn(64, 1, 8, 8),
    )


@pytest.mark.parametrize("kind", ["perceptron", "convolution"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_was_learned_on_a_regression_lowers_the_loss_of_others(trained, kind, dtype):
    net, x = image_net(kind)
    net, x = net.to(dtype), x.to(dtype)
    y = x.flatten(1)[:, :3].argmax(1)
    optimizer = LearnedOptimizer(net, trained, symmetries=isoloss.find(net, x[:2]))
    assert optimizer.actions
    losses = walk(optimizer, lambda: cross_entropy(net(x).float(), y), 30, closure=False)
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.dtype == dtype for p in net.parameters())


@pytest.mark.parametrize("way", ["state_dict", "file", "pickle", "deepcopy"])
def test_it_continues_to_the_same_bits(way):
    meta = changed(Design(variant=("update", "momentum", "tele"), teleport_at=(0, 8)))
    x = torch.randn(16, 3)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).bfloat16()
    symmetries = isoloss.find(net, x.bfloat16())
    optimizer = LearnedOptimizer(net, meta, symmetries=symmetries)
    walk(optimizer, lambda: (net(x.bfloat16()) - 1).square().mean(), 5, closure=False)

    if way in ("state_dict", "file"):
        other = copy.deepcopy(net)
        resumed = LearnedOptimizer(other, meta, symmetries=symmetries)
        state = optimizer.state_dict()
        if way == "file":
            file = io.BytesIO()
            torch.save(state, file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
        resumed.load_state_dict(state)
    elif way == "pickle":
        other, resumed = pickle.loads(pickle.dumps((net, optimizer)))
    else:
        other, resumed = copy.deepcopy((net, optimizer))
    for one, two in ((net, optimizer), (other, resumed)):
        walk(two, lambda one=one: (one(x.bfloat16()) - 1).square().mean(), 5, closure=False)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    memory, again = (o.state["memory"] for o in (optimizer, resumed))
    assert memory.keys() == again.keys() and memory["step"] == again["step"] == 10
    assert all(torch.equal(memory[n], again[n]) for n in memory if n != "step")


def small(design=None, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    meta = changed(design or Design(variant=("update",)))
    return net, torch.randn(16, 3), LearnedOptimizer(net, meta, **options)


def steps(net, x, optimizer, n=1):
    walk(optimizer, lambda: (net(x) - x[:, :1]).square().mean(), n, closure=False)


def weights(net):
    return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


def test_lr_is_a_factor_of_the_local_step():
    moves = []
    for lr in (1.0, 0.5):
        net, x, optimizer = small(lr=lr)
        start = weights(net)
        steps(net, x, optimizer)
        moves.append(weights(net) - start)
    torch.testing.assert_close(moves[1], moves[0] / 2, rtol=1e-5, atol=1e-7)


def test_schedulers_scale_it():
    net, x, optimizer = small()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.0)
    for _ in range(2):
        steps(net, x, optimizer)
        scheduler.step()
    here = weights(net)
    steps(net, x, optimizer)
    assert torch.equal(weights(net), here) and optimizer.state["memory"]["step"] == 3


def test_groups_have_their_own_factor():
    net, x, _ = small()
    meta = changed(Design(variant=("update",)))
    parts: list[dict] = [{"params": net[i].named_parameters(str(i))} for i in (0, 2)]
    parts[1]["lr"] = 0.0
    optimizer = LearnedOptimizer(parts, meta)
    first, last = weights(net[0]), weights(net[2])
    steps(net, x, optimizer)
    assert torch.equal(weights(net[2]), last) and not torch.equal(weights(net[0]), first)


def test_frozen_parameters_and_those_without_gradient_stay():
    net, x, _ = small()
    net[0].bias.requires_grad_(False)
    optimizer = LearnedOptimizer(net, changed(Design(variant=("update",), units="direct")))
    assert "0.bias" not in optimizer.param_groups[0]["param_names"]
    frozen, unused = net[0].bias.clone(), net[2].bias.detach().clone()
    closure_of(optimizer, lambda: (net(x) - x[:, :1]).square().mean())()
    net[2].bias.grad = None
    before = weights(net)
    optimizer.step()
    assert torch.equal(net[0].bias, frozen) and torch.equal(net[2].bias, unused)
    assert not torch.equal(weights(net), before)


def test_without_any_gradient_nothing_happens():
    net, _, optimizer = small()
    here = weights(net)
    assert optimizer.step() is None
    assert torch.equal(weights(net), here) and not optimizer.state


def test_symmetries_that_move_what_is_frozen_are_left_out():
    net, x, _ = small()
    symmetries = isoloss.find(net, x)
    net[0].bias.requires_grad_(False)
    with pytest.warns(UserWarning, match="R\\+\\^4, which involves 0.bias; it is left out"):
        optimizer = LearnedOptimizer(net, changed(Design()), symmetries=symmetries)
    assert optimizer.actions == ()
    steps(net, x, optimizer)


def test_what_is_frozen_later_is_not_teleported():
    net, x, _ = small()
    optimizer = LearnedOptimizer(net, changed(Design()), symmetries=isoloss.find(net, x))
    net[0].bias.requires_grad_(False)
    with pytest.raises(ValueError, match="must require gradients; got 0.bias, frozen since"):
        steps(net, x, optimizer)


def test_compiled_models_are_known_by_the_names_of_the_module():
    net, x, _ = small()
    compiled = torch.compile(net, backend="eager")
    symmetries = isoloss.find(net, x)
    optimizer = LearnedOptimizer(compiled, changed(Design(teleport_at=(0, 1))), symmetries=symmetries)
    assert optimizer.param_groups[0]["param_names"][0] == "0.weight" and optimizer.actions
    plain = copy.deepcopy(net)
    other = LearnedOptimizer(plain, changed(Design(teleport_at=(0, 1))), symmetries=symmetries)
    steps(compiled, x, optimizer, 3)
    steps(plain, x, other, 3)
    assert torch.equal(weights(net), weights(plain))


def test_meta_optimizers_are_copied():
    net, x, _ = small()
    meta = changed(Design(variant=("update",)))
    optimizer = LearnedOptimizer(net, meta)
    with torch.no_grad():
        for p in meta.parameters():
            p.fill_(torch.nan)
    steps(net, x, optimizer)
    assert weights(net).isfinite().all() and all(p.requires_grad for p in meta.parameters())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_gradients_that_are_not_finite_change_nothing(value):
    net, x, optimizer = small()
    steps(net, x, optimizer, 2)
    here, memory = weights(net), dict(optimizer.state["memory"])
    net[2].weight.grad[0, 1] = value
    with pytest.raises(
        ValueError, match="gradients must be finite; got inf or nan for 2.weight; nothing was"
    ):
        optimizer.step()
    assert torch.equal(weights(net), here)
    assert all(optimizer.state["memory"][n] is t for n, t in memory.items())


@pytest.mark.parametrize("fails_at", [2, 4, 7])
def test_closures_that_fail_leave_the_weights_where_they_were(fails_at):
    """In the midst of a teleport, where the weights are elsewhere."""
    net, data, loss = regression(drawn())
    optimizer = LearnedOptimizer(net, changed(Design()), TASKS.actions)
    here, calls = weights(net), []

    def closure():
        calls.append(1)
        if len(calls) == fails_at:
            raise RuntimeError("on purpose")
        return closure_of(optimizer, loss)()

    with pytest.raises(RuntimeError, match="on purpose"):
        optimizer.step(closure, data=data)
    assert torch.equal(weights(net), here) and not optimizer.state


def test_dependent_teleports_say_what_they_lack():
    net, data, loss = regression(drawn())
    optimizer = LearnedOptimizer(net, changed(Design()), TASKS.actions)
    loss().backward()
    here = weights(net)
    with pytest.raises(ValueError, match="reads the minibatch; got no data"):
        optimizer.step()
    with pytest.raises(ValueError, match="got no closure; call step\\(closure, data="):
        optimizer.step(data=data)
    with pytest.raises(ValueError, match="closure must return the loss"):
        optimizer.step(lambda: closure_of(optimizer, loss)() and None, data=data)
    optimizer = LearnedOptimizer(net, changed(Design(directions=("lookahead",))), TASKS.actions)
    with pytest.raises(ValueError, match="evaluates the loss at other weights; got no loss; pass loss="):
        optimizer.step(closure_of(optimizer, loss), data=data)
    assert torch.equal(weights(net), here) and not optimizer.state


def test_networks_that_read_the_whole_gradient_fit_one_shape():
    net, data, loss = regression(drawn())
    other, x, _ = small()
    meta = changed(Design(network="whole", hidden=4))
    with pytest.raises(ValueError, match=r"fit one optimizee; got \(4, 3\), .* made for \(6, 6\), \(6, 6\);"):
        LearnedOptimizer(other, meta)
    with pytest.raises(ValueError, match=r"got algebra elements \(6,\), made for \(6, 6\)"):
        LearnedOptimizer(net, meta, [scalings()])
    with pytest.raises(ValueError, match="got algebra elements none"):
        LearnedOptimizer(net, meta)
    with pytest.raises(ValueError, match="fit one optimizee"):
        LearnedOptimizer(net, meta, TASKS.actions).add_param_group({"params": [("b", nn.Parameter(x))]})


def test_names_of_weights_do_not_matter_to_networks_that_read_the_whole_gradient():
    net, data, loss = regression(drawn())
    meta = changed(Design(network="whole", hidden=4, variant=("update",)))
    optimizer = LearnedOptimizer([("a", net.W1), ("b", net.W2)], meta)
    start = loss().item()
    assert torch.equal(walk(optimizer, loss, 1)[:1], torch.tensor([start], dtype=torch.float64))


def test_refusals():
    net, x, _ = small()
    meta = changed(Design())
    for given in (net.parameters(), [{"params": list(net.parameters())}], [{"params": []}]):
        with pytest.raises(ValueError, match="parameters must have names"):
            LearnedOptimizer(given, meta)
    with pytest.raises(ValueError, match="names must differ.*got two weight"):
        LearnedOptimizer([("weight", net[0].weight), ("weight", net[2].weight)], meta)
    with pytest.raises(TypeError, match="meta must be a MetaOptimizer; got Design"):
        LearnedOptimizer(net, Design())
    with pytest.raises(ValueError, match="lr must not be negative; got -1"):
        LearnedOptimizer(net, meta, lr=-1.0)
    with pytest.raises(ValueError, match=r"got R\+\^6 on W1, W2, not among 0.weight"):
        LearnedOptimizer(net, meta, [scalings()])
    with pytest.raises(TypeError, match="pass what isoloss.find returns as symmetries="):
        LearnedOptimizer(net, meta, isoloss.find(net, x))
    with pytest.raises(ValueError, match="real floating-point numbers; got torch.complex64 for w"):
        LearnedOptimizer([("w", nn.Parameter(torch.ones(2, dtype=torch.complex64)))], meta)


def test_parameters_are_added_before_the_first_step():
    net, x, _ = small()
    optimizer = LearnedOptimizer([("0.weight", net[0].weight)], changed(Design(variant=("update",))))
    optimizer.add_param_group({"params": [("2.weight", net[2].weight)], "lr": 0.5})
    steps(net, x, optimizer)
    assert len(optimizer.param_groups) == 2
    with pytest.raises(ValueError, match="must be there before the first step"):
        optimizer.add_param_group({"params": [("0.bias", net[0].bias)]})


def test_the_memory_of_another_model_is_refused():
    net, x, optimizer = small()
    steps(net, x, optimizer)
    wider = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    other = LearnedOptimizer(wider, changed(Design(variant=("update",))))
    with pytest.raises(ValueError, match="the memory must be of this model, these actions and this design"):
        other.load_state_dict(optimizer.state_dict())
    assert not other.state


def test_steps_below_float32_are_computed_in_float32():
    net, x, _ = small()
    net.bfloat16()
    optimizer = LearnedOptimizer(net, changed(Design(variant=("update",))))
    steps(net, x.bfloat16(), optimizer)
    assert {t.dtype for n, t in optimizer.state["memory"].items() if n != "step"} == {torch.float32}


def test_group_elements_are_those_of_the_model():
    net, x, _ = small()
    optimizer = LearnedOptimizer(net, changed(Design()), symmetries=isoloss.find(net, x))
    assert [a.group for a in optimizer.actions] == [PositiveScaling(4)]
    without = LearnedOptimizer(net, changed(Design(variant=("update",))), symmetries=isoloss.find(net, x))
    assert without.actions == ()


def test_the_loss_of_exact_teleports_is_compared_where_it_is_given():
    """A loss that the symmetry does not keep refuses every element."""
    net, data, loss = regression(drawn())
    design = Design(teleport_at=(0,), tolerance=1e-9, order="after")
    ends = []
    for known in (None, lambda w, d: w["W1"].square().sum()):
        own = copy.deepcopy(net)
        optimizer = LearnedOptimizer(own, changed(design), [scalings()], loss=known, lr=0.0)
        closure_of(optimizer, lambda own=own: (own(data["X"]) - data["Y"]).square().sum() / 2)()
        optimizer.step(data=data)
        ends.append(weights(own))
    assert not torch.equal(ends[0], weights(net)) and torch.equal(ends[1], weights(net))


def test_the_loss_sees_weights_of_the_dtype_of_the_model():
    net, x, _ = small()
    net, x = net.bfloat16(), x.bfloat16()
    seen = set()

    def loss(parameters, data):
        seen.update(p.dtype for p in parameters.values())
        return (functional_call(net, parameters, (x,)) - x[:, :1]).square().mean()

    meta = changed(Design(directions=("lookahead",)))
    steps(net, x, LearnedOptimizer(net, meta, symmetries=isoloss.find(net, x), loss=loss))
    assert seen == {torch.bfloat16}
