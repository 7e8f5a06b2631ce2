import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.teleport._measure import measure
from networks import backward, gradients, mlp


def test_it_returns_the_loss_and_the_norm_of_its_gradient():
    model = mlp(3, 4, 2).double()
    x, y = torch.randn(5, 3).double(), torch.randn(5, 2).double()
    loss = backward(model, x, y)
    norm = nn.utils.get_total_norm(gradients(model).values())
    found = measure(lambda: nn.functional.mse_loss(model(x), y), list(model.parameters()), model)
    assert found == (loss.item(), pytest.approx(norm.item(), rel=1e-12))


def test_a_number_has_no_gradient():
    assert measure(lambda: 2.5, [], None) == (2.5, None)
    with torch.no_grad():
        assert measure(lambda: torch.tensor(2.5), [], None) == (2.5, None)


def test_it_leaves_no_trace():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    x, y = torch.randn(8, 3), torch.randn(8, 2)
    backward(model, x, y)
    before = gradients(model), [b.clone() for b in model.buffers()], torch.get_rng_state()
    loss = lambda: nn.functional.mse_loss(model(x), y)  # noqa: E731
    first, second = (measure(loss, list(model.parameters()), model) for _ in range(2))
    assert first == second  # the same dropout masks
    after = gradients(model), [b.clone() for b in model.buffers()], torch.get_rng_state()
    assert_close(after, before, rtol=0.0, atol=0.0)


def test_buffers_are_restored_if_the_closure_fails():
    model = nn.BatchNorm1d(3)

    def fails():
        model(torch.randn(4, 3))
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        measure(fails, [], model)
    assert model.num_batches_tracked == 0


def test_a_closure_that_writes_gradients_is_refused():
    model = mlp(3, 4, 2)
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    backward(model, x, y)

    def closure():
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss.item()

    with pytest.raises(ValueError, match=r"measure must leave gradients alone.*without calling zero_grad"):
        measure(closure, list(model.parameters()), model)
