"""A tape is the program: run on other parameters and inputs it computes what the module computes on them."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from finding.replaying import Recording
from isoloss.finding._run import interpret
from isoloss.finding._tape import OVERWRITE, tensors_in, values_in
from zoo import ZOO

# Nothing rounds differently but sums over memory laid out in another way.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def assert_replays(r: Recording) -> None:
    for seed in (1, 2):
        r.perturb(seed)
        expected = list(tensors_in(r.run()))
        found = r.replay()[-len(expected) :]
        for f, e in zip(found, expected, strict=True):
            assert f.dtype == e.dtype
            assert_close(f, e, **CLOSE)


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_replays(name):
    try:
        model, inputs = ZOO[name].build()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    r = Recording(model, *(args if isinstance(args, tuple) else (args,)), **kwargs)
    assert not r.tape.branches
    assert_replays(r)


class Net(nn.Module):
    """A function of a weight (5, 3), a bias (5), a recurrent weight (5, 5) and the input (2, 3)."""

    def __init__(self, f: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f
        self.w, self.b = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(5))
        self.r = nn.Parameter(torch.randn(5, 5))
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]))

    def forward(self, x: Tensor):
        return self.f(self, x)


def recorded(f: Callable[[Net, Tensor], Tensor], x: Tensor | None = None) -> Recording:
    return Recording(Net(f), torch.randn(2, 3) if x is None else x)


def ops(r: Recording) -> list[str]:
    return [str(c.op).removeprefix("aten.") for c in r.tape.needed()]


# ---------------------------------------------------------------- writes in place


def in_place(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w, net.b)
    h += 1
    h.mul_(2).relu_()
    return h


def into_a_slice(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w)
    h[:, 1:3] = x[:, :2]
    h[0, 4] = 7.0
    return h * net.b


def into_zeros(net: Net, x: Tensor) -> Tensor:
    out = torch.zeros(2, 8)
    out[:, :5] = F.linear(x, net.w)
    out[:, 5:] = x
    return out


def between_two_writes(net: Net, x: Tensor) -> Tensor:
    out = torch.ones(2, 5)
    out[:, :2] = F.linear(x, net.w)[:, :2]
    middle = out.clone()
    out[:, 2:] = 0.0
    return torch.cat([middle, out], 1)


def view_made_before_the_write(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w)
    rows, flat = h[0], h.view(-1)
    h.mul_(net.b)
    return rows + flat[5:] + h[1]


def write_through_a_view_of_a_view(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w).reshape(2, 5)
    h.t()[1:4].transpose(0, 1)[:, 0].add_(net.b[:2])
    return h


def two_views_of_one(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w)
    left, right = h[:, :3], h[:, 1:]
    left.tanh_()
    right.mul_(net.b[1:])
    left.add_(1.0)
    return h + h.sum() + right.sum()


def pieces_of_a_split(net: Net, x: Tensor) -> Tensor:
    a, b = F.linear(x, net.w).split([2, 3], dim=1)
    b = b.clone()
    b.add_(1)
    return torch.cat([a, b], 1)


def constant_changed_after_use(net: Net, x: Tensor) -> Tensor:
    mask = torch.ones(5)
    h = F.linear(x, net.w) * mask
    mask.zero_()
    return h + mask * net.b


def part_of_a_constant_changed_after_use(net: Net, x: Tensor) -> Tensor:
    mask = torch.ones(5)
    h = F.linear(x, net.w) * mask
    mask[:4] = 0.0
    return h + mask * net.b


def views_of_a_constant_changed_through_one_another(net: Net, x: Tensor) -> Tensor:
    table = torch.ones(5)
    left, right = table[:4], table[2:]
    h = net.b[:4] * left
    right.mul_(2)
    h = h + net.b[:4] * left
    left[0] = 3.0
    table[1:3].zero_()
    return (h * table[:4])[:3] * right + x


def constant_filled_by_a_parameter(net: Net, x: Tensor) -> Tensor:
    table = torch.zeros(5)
    table.copy_(net.b)
    before = table * 2
    table.add_(1)
    return F.linear(x, net.w) * table + before


def written_by_an_out_argument(net: Net, x: Tensor) -> Tensor:
    out = torch.empty(2, 5)
    torch.mm(x, net.w.detach().t(), out=out)
    return out * net.b


def scattered(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w)
    return h.scatter_add(1, torch.tensor([[0, 1], [2, 2]]), x[:, :2]).index_fill_(1, torch.tensor([3]), 0.5)


def put_by_an_index(net: Net, x: Tensor) -> Tensor:
    h = F.linear(x, net.w)
    h[:, torch.tensor([0, 3])] = x[:, 1:]
    h.masked_fill_(net.mask == 0, -1.0)
    return h


def state_written_step_by_step(net: Net, x: Tensor) -> Tensor:
    h, out = torch.zeros(2, 5), []
    for _ in range(3):
        h = torch.tanh(F.linear(x, net.w) + h @ net.r)
        out.append(h)
        h[:, 0] = 0.0
    return torch.stack(out)


WRITES = [
    in_place,
    into_a_slice,
    into_zeros,
    between_two_writes,
    view_made_before_the_write,
    write_through_a_view_of_a_view,
    two_views_of_one,
    pieces_of_a_split,
    constant_changed_after_use,
    part_of_a_constant_changed_after_use,
    views_of_a_constant_changed_through_one_another,
    constant_filled_by_a_parameter,
    written_by_an_out_argument,
    scattered,
    put_by_an_index,
    state_written_step_by_step,
]


@pytest.mark.parametrize("f", WRITES, ids=lambda f: f.__name__)
def test_writes_in_place_become_values(f):
    assert_replays(recorded(f))


def test_the_tape_writes_nothing():
    """Everything recorded is a value of its own: no argument of a call is changed by a later one."""
    r = recorded(two_views_of_one)
    seen = [id(v) for c in r.tape.calls for v in values_in(c.outputs)]
    assert len(seen) == len(set(seen))
    assert sum(c.op is OVERWRITE for c in r.tape.calls) == 3


# ---------------------------------------------------------------- the float64 world


def test_dropout_acts_by_its_mean():
    """In training: x stays x, whatever the random state; twice the same."""
    net = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 4), nn.AlphaDropout(0.3)).train()
    x = torch.randn(2, 3)
    first, second = Recording(net, x), Recording(net, x)
    torch.manual_seed(123)
    assert_close(first.output, second.output, rtol=0, atol=0)
    plain = Recording(net[:3].eval(), x)
    assert_close(first.replay()[-1].shape, plain.replay()[-1].shape)
    assert_close(Recording(net[:3].train(), x).output, plain.output)
    assert_replays(first)


@pytest.mark.parametrize(
    "dropout", [F.dropout, F.dropout1d, F.feature_alpha_dropout, F.alpha_dropout], ids=lambda f: f.__name__
)
def test_every_dropout_is_the_same_twice(dropout):
    r = recorded(lambda net, x: dropout(F.linear(x, net.w)[None], 0.4, True))
    assert_close(r.run(), r.output, rtol=0, atol=0)
    assert_replays(r)


def test_dropout_of_attention_acts_by_its_mean():
    attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True).train()
    x = torch.randn(2, 3, 4)
    trained = Recording(attention, x, x, x).output[0]
    assert_close(trained, Recording(attention.eval(), x, x, x).output[0])


# Functions of the pre-activations (2, 5).
CASTS = {
    "float": lambda x: x.float(),
    "half": lambda x: x.half(),
    "bfloat16": lambda x: x.to(torch.bfloat16),
    "type": lambda x: x.type(torch.float32),
    "to another": lambda x: x.to(torch.zeros(1, dtype=torch.float32)),
    "dtype of a sum": lambda x: x.sum(-1, keepdim=True, dtype=torch.float32) + x,
    "dtype of softmax": lambda x: F.softmax(x, -1, dtype=torch.float32),
    "dtype of cumsum": lambda x: x.cumsum(-1, dtype=torch.float32),
    "autocast": lambda x: F.linear(x, torch.full((5, 5), 0.1)),
    "made in float32": lambda x: x + torch.full((5,), 0.1, dtype=torch.float32),
    "float32 written": lambda x: torch.zeros(2, 5, dtype=torch.float32).copy_(x),
    "type_as": lambda x: x.type_as(torch.zeros(1, dtype=torch.float16)),
}


@pytest.mark.parametrize("name", CASTS)
def test_casts_are_lifted(name):
    """To the last digit of float64: what a cast would drop makes a difference."""

    def f(net: Net, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "autocast"):
            return CASTS[name](F.linear(x, net.w, net.b))

    r = recorded(f)
    assert r.output.dtype == torch.float64
    assert_replays(r)
    before = r.run()
    r.tensors["b"].add_(torch.linspace(1e-11, 1e-10, 5, dtype=torch.float64))
    change = (r.run() - before).abs()
    assert 1e-13 < change.max() < 1e-8 and (change > 0).float().mean() > 0.8


def test_integer_casts_stay():
    r = recorded(lambda net, x: F.linear(x, net.w)[:, x[0].abs().long().clamp(max=4)])
    assert_replays(r)


# ---------------------------------------------------------------- what is written down


def test_constants_depend_on_neither_parameters_nor_inputs():
    def f(net: Net, x: Tensor) -> Tensor:
        angles = torch.arange(5).double().outer(torch.ones(2)).cos().sum(-1)
        return F.linear(x, net.w) * angles + x.shape[0]

    r = recorded(f)
    assert not {"cos.default", "arange.default"} & set(ops(r))
    constants = [v for c in r.tape.needed() for v in c.args if getattr(v, "constant", None) is not None]
    assert len(constants) == 1 and constants[0].shape == (5,)
    assert_replays(r)


def test_parametric_means_depends_on_a_parameter():
    r = recorded(lambda net, x: (x * 2).sin() @ net.w.t())
    flags = {str(c.op): c.outputs.parametric for c in r.tape.needed()}
    assert not flags["aten.sin.default"] and flags["aten.mm.default"]


def test_what_no_output_needs_is_left_out():
    r = recorded(lambda net, x: (net.r.exp().sum(), F.linear(x, net.w))[1])
    assert "exp.default" not in ops(r)
    assert "aten.exp.default" in [str(c.op) for c in r.tape.calls]


def test_calls_know_their_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2)))
    r = Recording(model, torch.randn(2, 3))
    assert [(c.module, str(c.op)) for c in r.tape.calls if "addmm" in str(c.op) or "tanh" in str(c.op)] == [
        ("0", "aten.addmm.default"),
        ("1.0", "aten.tanh.default"),
        ("1.1", "aten.addmm.default"),
    ]


@pytest.mark.parametrize(
    ("f", "branches"),
    [
        (lambda net, x: F.linear(x, net.w) if net.b.sum() > 0 else F.linear(x, net.w) * 2, 1),
        (lambda net, x: F.linear(x, net.w) * float(net.b[0]), 1),
        (lambda net, x: F.linear(x, net.w).masked_select(net.b > -100.0), 1),
        (lambda net, x: F.linear(x, net.w)[net.b > -100.0], 1),
        (lambda net, x: F.linear(x, net.w)[:, torch.nonzero(net.b)[:, 0]], 1),
        (lambda net, x: F.linear(x, net.w) if x.sum() < 1e9 else x, 0),
        (lambda net, x: F.linear(x, net.w) if net.mask.sum() == 3 else x, 1),
        (lambda net, x: F.linear(x, net.w), 0),
    ],
    ids=["if", "float", "masked_select", "mask", "nonzero", "if on the input", "if on a buffer", "none"],
)
def test_branches_on_parameters_are_noticed(f, branches):
    """A number read out of an input only says which program it is; it stays an output, for it must not change."""

    def on_rows(net: Net, x: Tensor) -> Tensor:
        return f(net, x)

    r = recorded(on_rows, torch.randn(5, 3))
    assert bool(r.tape.branches) == bool(branches)


def test_numbers_that_are_read_must_not_change():
    r = recorded(lambda net, x: F.linear(x, net.w) * float((x * 3).sum()))
    assert len(r.tape.outputs) == 2 and r.tape.outputs[0].shape == ()


def test_views_made_before_the_recording():
    """Of a parameter, in a plain attribute: an op that no rule knows, so that the parameter stays put."""

    def keep_a_view(net: nn.Module) -> None:
        net.kept = net.w.detach()[:, :2]

    net = Net(lambda net, x: F.linear(x[:, :2], net.kept) * net.b)
    r = Recording(net, torch.randn(2, 3), prepare=keep_a_view)
    assert "a view made outside forward" in ops(r)
    _, notes = interpret(r.tape, r.tensors.keys())
    assert [n.partition(":")[0] for n in notes] == ["a view made outside forward in the model itself"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: [y, {"a": y * 2, "b": (y.sum(),)}],
        lambda y: nn.modules.module._IncompatibleKeys([y], []),
        lambda y: {"logits": y, "none": None, "number": 3, "text": "x"},
    ],
    ids=["nested", "named tuple", "dict"],
)
def test_outputs_are_found_in_any_structure(wrap):
    r = recorded(lambda net, x: wrap(F.linear(x, net.w)))
    assert r.tape.outputs and len(r.tape.outputs) == len(list(tensors_in(r.output)))
    assert_replays(r)


def test_interpretation_takes_every_write():
    """The rules know the pseudo-op of a write into a view: nothing is left out."""
    for f in (into_a_slice, into_zeros, between_two_writes, view_made_before_the_write, two_views_of_one):
        r = recorded(f)
        _, notes = interpret(r.tape, r.tensors.keys())
        assert notes == []
