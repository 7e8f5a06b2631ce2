"""The monitor in ordinary training loops."""

import copy

import pytest
import torch
from torch import nn

import isoloss
from flow.running import HeadAttention
from isoloss import flow
from networks import mlp, mlp_symmetries, snapshot


def trained(model, optimizer, monitor, steps: int = 6, autocast=None):
    """Numbers of every step of a regression on fixed data."""
    generator = torch.Generator().manual_seed(0)
    first = next(model.parameters())
    x, y = (torch.randn(12, n, generator=generator).to(first.dtype) for n in (4, 3))
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        found.append(monitor.step())
    return found


def test_it_records_norms_and_relative_drifts():
    model = mlp(4, 6, 5, 3).double()
    quantities = flow.conserved_quantities(mlp_symmetries(model))
    start = quantities.measured(copy.deepcopy(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    numbers = trained(model, optimizer, flow.Monitor(optimizer, mlp_symmetries(model)))[-1]
    now = quantities.evaluate(model)
    assert len(numbers) == 5
    for name, (value, size) in start.items():
        drift = float((now[name] - value).norm() / size)
        assert numbers[f"conserved/{name}/norm"] == pytest.approx(float(now[name].norm()), rel=1e-12)
        assert numbers[f"conserved/{name}/drift"] == pytest.approx(drift, rel=1e-9) and drift > 1e-6
    assert numbers["conserved/drift"] == max(v for n, v in numbers.items() if n.endswith("/drift"))


def test_the_drift_is_of_first_order_in_the_rate():
    """Half the rate, twice the steps: half the drift."""
    drifts = []
    for rate, steps in ((0.02, 10), (0.01, 20)):
        torch.manual_seed(0)
        model = mlp(4, 6, 3).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        drifts.append(
            trained(model, optimizer, flow.Monitor(optimizer, mlp_symmetries(model)), steps)[-1][
                "conserved/drift"
            ]
        )
    assert 1.7 < drifts[0] / drifts[1] < 2.3


def test_it_changes_nothing_and_records_every_so_often():
    def run(watch: bool):
        torch.manual_seed(0)
        model = mlp(4, 6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        monitor = flow.Monitor(model, mlp_symmetries(model), every=3) if watch else None
        found = trained(model, optimizer, monitor or type("None_", (), {"step": staticmethod(dict)}), 7)
        return snapshot(model, optimizer), found

    watched, numbers = run(True)
    alone, _ = run(False)
    assert all(torch.equal(a, b) for a, b in zip(watched, alone, strict=True))
    assert [bool(n) for n in numbers] == [False, False, True, False, False, True, False]


def test_learning_rates_of_groups_enter():
    """A group of a tenth of the rate: with it the drift is of second order, without it of first."""
    drifts = []
    for of in (lambda m, o: o, lambda m, o: m):
        torch.manual_seed(0)
        model = mlp(4, 6, 3).double()
        optimizer = torch.optim.SGD(
            [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 1e-5}], lr=1e-4
        )
        monitor = flow.Monitor(of(model, optimizer), mlp_symmetries(model))
        drifts.append(trained(model, optimizer, monitor, 20)[-1]["conserved/drift"])
    assert drifts[0] < 0.01 * drifts[1]


def test_what_is_not_trained_takes_its_symmetries_out():
    model = mlp(4, 6, 5, 3)
    optimizer = torch.optim.SGD(list(model[2].parameters()) + list(model[4].parameters()), lr=0.1)
    monitor = flow.Monitor(optimizer, mlp_symmetries(model))
    assert list(monitor.quantities) == ["R+^5 between 2.weight and 4.weight"]
    model[2].bias.requires_grad_(False)
    with pytest.raises(ValueError, match="bias is frozen"):
        flow.Monitor(optimizer, mlp_symmetries(model))
    with pytest.raises(ValueError, match="must train the parameters that some symmetry moves"):
        flow.Monitor(torch.optim.SGD(mlp(4, 6, 3).parameters(), lr=0.1), mlp_symmetries(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_mixed_and_half_precision(dtype):
    """Autocast leaves the weights in float32; weights in bfloat16 are read in float32."""
    model = mlp(4, 6, 3).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = flow.Monitor(optimizer, mlp_symmetries(model))
    numbers = trained(model, optimizer, monitor, autocast=torch.bfloat16 if dtype == torch.float32 else None)
    assert 0 < numbers[-1]["conserved/drift"] < 0.1
    assert all(v.dtype == torch.float32 for v in monitor.quantities.evaluate(model).values())


def test_tied_weights_and_attention():
    model = nn.Sequential(
        nn.Linear(4, 6), nn.Unflatten(-1, (2, 3)), HeadAttention(3, 1), nn.Flatten(), nn.Linear(6, 3)
    )
    symmetries = isoloss.find(model, torch.randn(2, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    monitor = flow.Monitor(optimizer, symmetries)
    assert trained(model, optimizer, monitor)[-1]["conserved/drift"] > 0
    table = nn.Embedding(5, 4)
    head = nn.Linear(4, 5, bias=False)
    head.weight = table.weight
    tied = nn.Sequential(table, nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), head)
    monitor = flow.Monitor(tied, isoloss.find(tied, torch.tensor([[1, 2]])))
    assert monitor.record()["conserved/drift"] == 0.0


def test_what_starts_at_zero_has_an_absolute_drift():
    """Biases in front of a softmax: their sum is kept by gradient descent, and not by a push from outside."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1)).double()
    with torch.no_grad():
        model[0].bias.zero_()
    symmetries = isoloss.find(model, torch.randn(5, 4)).where(lambda s: s.parameters == ("0.bias",))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = flow.Monitor(optimizer, symmetries)
    assert trained(model, optimizer, monitor)[-1]["conserved/drift"] < 1e-15
    run = flow.gradient_descent(lambda m: m(torch.ones(1, 4).double())[0, 0], model, 0.1, 2)
    (quantities, drifts) = monitor.quantities, monitor.quantities.drift(run)
    assert all(d.isfinite().all() for d in drifts.values()) and len(quantities) == 1
    with torch.no_grad():
        model[0].bias += 0.5
    assert monitor.record()["conserved/drift"] == pytest.approx(1.5)


def test_what_is_not_a_number_shows():
    model = mlp(4, 6, 3)
    monitor = flow.Monitor(model, mlp_symmetries(model))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    assert monitor.step()["conserved/drift"] != monitor.step()["conserved/drift"]


def test_its_state_is_saved_and_loaded(tmp_path):
    model = mlp(4, 6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = flow.Monitor(optimizer, mlp_symmetries(model), every=2)
    trained(model, optimizer, monitor, 3)
    torch.save(monitor.state_dict(), tmp_path / "state.pt")
    later = flow.Monitor(model, mlp_symmetries(model), every=2)
    later.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert later.step() == monitor.step() != {}
    other = mlp(4, 5, 3)
    with pytest.raises(ValueError, match="hold these 1 quantities"):
        flow.Monitor(other, mlp_symmetries(other)).load_state_dict(monitor.state_dict())


def test_bad_input_is_refused_in_one_sentence():
    model = mlp(4, 6, 3)
    with pytest.raises(ValueError, match="every must be a whole number"):
        flow.Monitor(model, mlp_symmetries(model), every=0)
    with pytest.raises(TypeError, match="a module or an optimizer; got list"):
        flow.Monitor([], mlp_symmetries(model))
    with pytest.raises(ValueError, match="positive learning rate"):
        flow.Monitor(torch.optim.SGD(model.parameters(), lr=0.0), mlp_symmetries(model))
