"""Bad input: where, the rule, what was given, what to do about it."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from isoloss.finding import find
from isoloss.symmetry import Symmetries

X = torch.linspace(-1, 1, 6).reshape(2, 3)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))


class Net(nn.Module):
    """A hidden layer, an extra parameter, and whatever a test wants to compute."""

    def __init__(self, f: Callable[["Net", Tensor], object], extra: Tensor | None = None) -> None:
        super().__init__()
        self.f, self.inner = f, mlp()
        self.extra = nn.Parameter(torch.zeros(1) if extra is None else extra, requires_grad=False)

    def forward(self, x: Tensor) -> object:
        return self.f(self, x)


def on_the_net(extra: Tensor) -> Net:
    return Net(lambda net, x: net.inner(x), extra)


class Tied(nn.Module):
    """Two parameters over one storage: not what tying means in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = nn.Parameter(self.a.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


def with_a_lock() -> nn.Module:
    net = mlp()
    net.lock = threading.Lock()
    return net


def deaf(f: Callable[[Net, Tensor], object]) -> Callable[[], nn.Module]:
    return lambda: Net(f)


REFUSED = {
    "a function": (
        lambda: torch.relu,
        X,
        TypeError,
        "find: model must be a torch.nn.Module; got builtin_function_or_method",
    ),
    "a class": (lambda: nn.Linear, X, TypeError, "find: model must be a torch.nn.Module; got type"),
    "a number as input": (
        mlp,
        3,
        TypeError,
        "example_inputs must be a tensor, a tuple .* got int; wrap a single",
    ),
    "no input": (mlp, None, TypeError, "example_inputs must be .* got NoneType"),
    "a numpy array": (mlp, X.numpy(), TypeError, "example_inputs must be .* got ndarray"),
    "a string": (mlp, "2,3", TypeError, "example_inputs must be .* got str"),
    "no parameters": (
        nn.ReLU,
        X,
        ValueError,
        "the model must have parameters; got none; there is nothing to move",
    ),
    "complex": (
        lambda: on_the_net(torch.randn(3, dtype=torch.complex64)),
        X,
        ValueError,
        r"parameters must be real; got complex extra \(torch.complex64\); store real and imaginary parts",
    ),
    "meta": (
        lambda: nn.Linear(3, 5, device="meta"),
        X,
        ValueError,
        r"parameters must have values; got the meta tensor weight; materialize .* model.to_empty\(device=...\)",
    ),
    "partly meta": (
        lambda: on_the_net(torch.zeros(3, device="meta")),
        X,
        ValueError,
        "got the meta tensor extra; materialize",
    ),
    "int8": (
        lambda: on_the_net(torch.zeros(3, dtype=torch.int8)),
        X,
        ValueError,
        r"must be floating point; got extra \(torch.int8\); dequantize the model first",
    ),
    "packed 4-bit": (
        lambda: on_the_net(torch.zeros(3, dtype=torch.uint8)),
        X,
        ValueError,
        r"got extra \(torch.uint8\); dequantize",
    ),
    "lazy": (
        lambda: nn.LazyLinear(5),
        X,
        ValueError,
        "parameters must have shapes; got the uninitialized weight; run the model once on its inputs first",
    ),
    "shared memory": (
        Tied,
        X,
        ValueError,
        "tied weights must be one Parameter; got a.weight and b.weight, two that share memory; assign the same",
    ),
    "a lock": (
        with_a_lock,
        X,
        ValueError,
        "must be copied, so that it is never touched; got TypeError: cannot pickle '_thread.lock' object; remove",
    ),
    "wrong width": (
        mlp,
        X[:, :2],
        ValueError,
        r"must run on the example inputs, in float64; got RuntimeError: .*shapes.*2x2 and 3x5.*; check that model\(",
    ),
    "too many arguments": (
        mlp,
        (X, X),
        ValueError,
        "must run on the example inputs, .* got TypeError: .*positional",
    ),
    "too few": (mlp, (), ValueError, "must run on the example inputs, .* got TypeError: .*missing"),
    "wrong keyword": (mlp, {"y": X}, ValueError, "must run on the example inputs, .* got TypeError: .*'y'"),
    "an error of its own": (
        deaf(lambda net, x: 1 / 0),
        X,
        ValueError,
        "must run on the example inputs, .* got ZeroDivisionError: division by zero; check",
    ),
    "no output": (
        deaf(lambda net, x: None),
        X,
        ValueError,
        "must return tensors, in lists, .* got NoneType; wrap it",
    ),
    "a number": (
        deaf(lambda net, x: 3.0),
        X,
        ValueError,
        "must return tensors, .* got float; wrap it in a module",
    ),
    "an object": (
        deaf(lambda net, x: TorchVersion("1")),
        X,
        ValueError,
        "must return tensors, .* got TorchVersion",
    ),
    "an empty list": (deaf(lambda net, x: []), X, ValueError, "must return tensors, .* got list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_clear_sentence(name):
    model, inputs, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match) as caught:
        find(model(), inputs)
    assert str(caught.value).startswith("find: ") and len(str(caught.value)) < 600


@pytest.mark.parametrize("verify", ["all", "SAMPLE", 3, None])
def test_unknown_verification(verify):
    with pytest.raises(ValueError, match=f"find: verify must be 'sample', 'full' or False; got {verify!r}"):
        find(mlp(), X, verify=verify)


@pytest.mark.parametrize("option", ["statistics", "frozen", "branches"])
def test_unknown_options(option):
    with pytest.raises(ValueError, match=f"find: {option} must be .*; got 'holt'"):
        find(mlp(), X, **{option: "holt"})


def test_an_empty_batch():
    """No example, no symmetry can be told: either it says so, or it finds what the shapes tell."""
    try:
        assert isinstance(find(mlp(), X[:0]), Symmetries)
    except ValueError as error:
        assert str(error).startswith("find: ")


def test_sparse_parameters():
    model = on_the_net(torch.eye(3).to_sparse())
    with pytest.raises(ValueError, match="find: parameters must be dense; got the sparse extra"):
        find(model, X)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["parameter", "input"])
def test_nothing_can_be_verified_on_what_is_not_finite(bad, where):
    model, x = mlp(), X.clone()
    with torch.no_grad():
        (model[0].bias if where == "parameter" else x)[0] = bad
    if where == "input":
        x[:] = bad
    with pytest.raises(ValueError, match="find: .*finite"):
        find(model, x)


# ---------------------------------------------------------------- branches on data


def branching(net: Net, x: Tensor) -> Tensor:
    hidden = net.inner[1](net.inner[0](x))
    return net.inner[2](hidden) if hidden.sum() > 1e-9 else net.inner[2](2 * hidden)


class Deep(nn.Module):
    """Branches in a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), Net(branching))

    def forward(self, x: Tensor) -> object:
        return self.body(x)


@pytest.mark.parametrize(
    ("model", "where"),
    [(lambda: Net(branching), "the model itself"), (Deep, r"body\.1")],
    ids=["top", "inner"],
)
def test_a_branch_on_data_is_refused(model, where):
    match = rf"must not depend on the values of parameters; got .* {where}; pass branches='follow'"
    with pytest.raises(ValueError, match=match):
        find(model(), X)


def at_a_gate(net: Net, x: Tensor) -> Tensor:
    h = torch.relu(net.inner[0](x))
    return net.inner[2](h) if net.extra.sum() < 1e9 else h


def test_a_branch_on_data_is_followed_if_asked():
    assert {"R+^5", "S_5"} <= {s.name for s in find(Net(at_a_gate), X, branches="follow")}


def test_what_a_branch_reads_stays_put():
    found = find(Net(at_a_gate), X, branches="follow")
    assert not any("extra" in s.parameters for s in found)


def test_verification_stays_on_the_branch():
    """The first unit is read: the others may be scaled one by one."""

    def f(net: Net, x: Tensor) -> Tensor:
        h = torch.relu(net.inner[0](x))
        return net.inner[2](h) if net.inner[0].bias[0] < 0.5 else h

    model = Net(f)
    with torch.no_grad():
        model.inner[0].bias[0] = 0.4
    found = find(model, X, branches="follow")
    assert found.dim == 4 and not found.notes


def test_numbers_may_be_read_without_a_warning():
    """torch warns of a float made from what requires grad; nothing does while a model is recorded."""
    find(Net(lambda net, x: net.inner(x) * float(net.extra.sum() + 1)), X, branches="follow")


def test_a_branch_on_the_hidden_units_holds_them():
    """A sum of hidden units may not be scaled, only permuted."""
    found = find(Net(branching), X, branches="follow")
    assert [s.name for s in found if "inner.0.weight" in s.parameters] == ["S_5"]


def test_a_branch_on_the_input_is_no_branch():
    model = Net(lambda net, x: net.inner(x) if x.sum() < 100 else x)
    assert {"R+^5", "S_5"} <= {s.name for s in find(model, X)}


# ---------------------------------------------------------------- unusual, but fine


FINE = {
    "list of arguments": (mlp, [X]),
    "keywords": (mlp, {"input": X}),
    "input that requires grad": (mlp, X.clone().requires_grad_()),
    "bfloat16": (lambda: mlp().bfloat16(), X.bfloat16()),
    "float16": (lambda: mlp().half(), X.half()),
    "float64": (lambda: mlp().double(), X.double()),
    "frozen": (lambda: mlp().requires_grad_(False), X),
    "transposed weight": (lambda: transposed(), X),
    "in training": (lambda: mlp().train(), X),
}


def transposed() -> nn.Module:
    net = mlp()
    net[0].weight = nn.Parameter(net[0].weight.detach().t().contiguous().t())
    return net


@pytest.mark.parametrize("name", FINE)
def test_these_are_fine(name):
    model, inputs = FINE[name]
    model = model()
    found = find(model, inputs, verify="full")
    assert sorted(s.name for s in found) == ["R+^5", "S_5"] and not found.notes
    found.act_(found.sample())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_under_any_grad_mode(mode):
    with mode():
        assert sorted(s.name for s in find(mlp(), X)) == ["R+^5", "S_5"]


def test_held_parameters_are_not_moved():
    model = mlp()
    model[2].weight.requires_grad_(False)
    assert {s.name for s in find(model, X, frozen="move")} == {"R+^5", "S_5"}
    assert len(find(model, X, frozen="hold")) == 0


def test_held_statistics_are_not_moved():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4)).eval()
    with torch.no_grad():
        model[1].running_mean.normal_()
    moved = find(model, X, statistics="move")
    assert any("1.running_mean" in s.parameters for s in moved)
    held = find(model, X, statistics="hold")
    assert not any("running" in n for s in held for n in s.parameters)
    # Running means and variances that stay tell the channels apart.
    assert not any(s.name == "S_5" and "1.weight" in s.parameters for s in held)
