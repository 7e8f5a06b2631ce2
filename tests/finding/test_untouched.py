"""A search leaves everything as it was, bit for bit: the zoo is looked at in test_zoo, the rest of the world here."""

import copy
from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finding.searching import differences, snapshot
from isoloss.finding import find

X = torch.linspace(-1, 1, 24).reshape(4, 6)


class Everything(nn.Module):
    """Batch norm, dropout, attention, weight norm, a frozen part, a cache, hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.utils.parametrizations.weight_norm(nn.Linear(6, 8))
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.3)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.out = nn.Linear(8, 3)
        self.table = torch.linspace(0, 1, 8)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(F.relu(self.norm(self.inp(x))))
        h = self.attention(h[None], h[None], h[None], need_weights=False)[0][0]
        return self.out(torch.tanh(self.frozen(h)) + self.table)


def built(train: bool) -> Everything:
    model = Everything().train(train)
    model(X).square().sum().backward()
    model.out.weight.grad = None
    model.hooked = []
    model.out.register_forward_hook(lambda m, a, y: None)
    model.register_forward_pre_hook(lambda m, a: None)
    model.inp.bias.register_hook(lambda g: g)
    return model


@pytest.mark.parametrize(
    ("train", "verify"),
    list(product([True, False], [False, "sample", "full"])),
    ids=[
        "-".join(("train" if t else "eval", str(v)))
        for t, v in product([True, False], [False, "sample", "full"])
    ],
)
def test_a_search_leaves_no_trace(train, verify):
    """Parameters, gradients, statistics, modes, hooks, random states and the settings of torch."""
    model = built(train)
    inputs = X.clone().requires_grad_()
    before = snapshot(model, (inputs,))
    assert len(find(model, (inputs,), verify=verify)) > 0
    assert differences(before, snapshot(model, (inputs,))) == []


FAILURES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "raises": lambda model, x: model.out(x),
    "branches": lambda model, x: model(x) if model.out.weight.sum() > 0 else -model(x),
    "interrupted": lambda model, x: (_ for _ in ()).throw(KeyboardInterrupt),
}


class Failing(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.inner, self.name = built(True), name

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)  # so that statistics and random state would have moved
        return FAILURES[self.name](self.inner, x) + y


@pytest.mark.parametrize("name", FAILURES)
def test_a_search_that_fails_leaves_no_trace(name):
    model = Failing(name)
    before = snapshot(model, (X,))
    with pytest.raises((ValueError, KeyboardInterrupt)):
        find(model, X)
    assert differences(before, snapshot(model, (X,))) == []


@pytest.mark.parametrize("setting", ["float64", "bfloat16", "no grad", "inference", "fast path", "kernels"])
def test_settings_of_torch_are_put_back(setting):
    """Whatever they were."""
    model = built(False)
    with torch.random.fork_rng(), altered(setting):
        before = snapshot(model, (X,))
        find(model, X)
        assert differences(before, snapshot(model, (X,))) == []


def altered(setting: str):
    from contextlib import contextmanager

    from torch.nn.attention import SDPBackend, sdpa_kernel

    @contextmanager
    def dtype(d: torch.dtype):
        old = torch.get_default_dtype()
        torch.set_default_dtype(d)
        try:
            yield
        finally:
            torch.set_default_dtype(old)

    @contextmanager
    def slow():
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(True)

    return {
        "float64": lambda: dtype(torch.float64),
        "bfloat16": lambda: dtype(torch.bfloat16),
        "no grad": torch.no_grad,
        "inference": torch.inference_mode,
        "fast path": slow,
        "kernels": lambda: sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION]),
    }[setting]()


def test_the_result_does_not_depend_on_the_random_state():
    """The same symmetries with the same errors, whatever was drawn before."""
    model = built(True)
    tables = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        tables.append(find(model, X).table)
    assert tables[0] == tables[1]


def test_generators_of_other_devices_are_not_seeded(monkeypatch):
    """A model on the CPU has no business with them."""
    seeded = []
    for device in (torch.cuda, torch.xpu, torch.mps):
        name = "manual_seed" if device is torch.mps else "manual_seed_all"
        monkeypatch.setattr(device, name, lambda seed: seeded.append(seed))
    find(built(True), X)
    assert seeded == []


def test_the_seed_decides_what_is_tried():
    model = built(False)
    errors = [[s.error for s in find(model, X, seed=seed)] for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]


def test_a_model_can_be_searched_in_the_middle_of_training():
    """Between backward and step: the next step is what it would have been."""
    model, twin = built(True), built(True)
    twin.load_state_dict(model.state_dict())
    results = []
    for m, searched in ((model, True), (twin, False)):
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(m.parameters(), lr=0.1)
        loss = m(X).square().sum()
        m.zero_grad()
        loss.backward()
        if searched:
            find(m, X)
        optimizer.step()
        results.append({n: p.detach().clone() for n, p in m.named_parameters()} | dict(m.named_buffers()))
    assert all(torch.equal(results[0][n], results[1][n]) for n in results[0])


def test_a_search_keeps_no_second_model_alive():
    """Nothing found refers to the copy, and the model itself is held weakly."""
    import gc
    import weakref

    model = built(False)
    found = find(model, X)
    gc.collect()
    copies = [o for o in gc.get_objects() if type(o) is Everything]
    assert len(copies) == 1
    watched = weakref.ref(model)
    del model, copies
    gc.collect()
    assert watched() is None and len(found) > 0


def test_what_is_found_depends_on_the_architecture_not_on_the_point():
    """A copy at other weights has the same symmetries."""
    model = built(False)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.normal_()
    names = [sorted(repr(s) for s in find(m, X)) for m in (model, other)]
    assert names[0] == names[1]
