import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dependent.nets import closure, convolutional, gradient_norm, perceptron, symmetries_of, written
from isoloss import Teleport, find
from isoloss.dependent import Factor, act_, pairs, search, teleport_


@pytest.mark.parametrize("k", [5, 40])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_the_gradient_changes_as_predicted_and_the_loss_stays(k, lower, bias):
    model = perceptron(6, 10, 8, 3, activation=nn.Tanh, bias=bias)
    loss = closure(model, k)
    before = gradient_norm(model, loss)
    report = teleport_(symmetries_of(model), loss, lower=lower)
    after = gradient_norm(model, loss)
    assert_close(report.gradient_norm_before, (2 * before) ** 0.5)
    assert_close(report.gradient_norm_after, (2 * after) ** 0.5, rtol=1e-6, atol=1e-9)
    assert (after < 0.99 * before) if lower else (after > 1.01 * before)
    # The tolerance of the Newton steps, and the damping of the fits that they are taken with.
    assert_close(report.loss_after, report.loss_before, rtol=1e-8, atol=0)
    assert_close(report.loss_after, loss().item(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("k", [1, 6])
def test_images(k):
    model = convolutional()
    loss = closure(model, k)
    before = gradient_norm(model, loss)
    report = teleport_(symmetries_of(model), loss)
    assert gradient_norm(model, loss) > 1.01 * before
    assert_close(report.loss_after, report.loss_before, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "model, shape",
    [
        (lambda: nn.Sequential(nn.Conv3d(1, 4, 2), nn.Tanh(), nn.Conv3d(4, 3, 2)), (2, 1, 3, 4, 3)),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 2)), (2, 5, 6)),
        (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Conv1d(4, 3, 2)), (2, 9)),
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)),
    ],
    ids=["volumes", "one image", "one sequence", "one vector"],
)
def test_volumes_and_single_samples(model, shape):
    model, x = model().double(), torch.randn(shape).double()
    loss = lambda: model(x).square().mean()  # noqa: E731
    symmetries, outputs, before = find(model, x), model(x).detach(), gradient_norm(model, loss)
    report = teleport_(symmetries, loss)
    after = gradient_norm(model, loss)
    assert_close(report.gradient_norm_after, (2 * after) ** 0.5, rtol=1e-6, atol=0)
    assert after > 1.01 * before
    assert_close(report.loss_after, report.loss_before, rtol=1e-8, atol=0)
    element = torch.eye(4).double() + 0.05 * torch.randn(4, 4).double()
    act_(symmetries, [element], loss)
    if x.dim() == 1:  # one column: exactly; positions are more columns than there are weights to fit
        assert_close(model(x), outputs)


def test_float32():
    model = perceptron(20, 40, 30, 3).float()
    x, y = torch.randn(15, 20), torch.randint(3, (15,))
    loss = lambda: nn.functional.cross_entropy(model(x), y)  # noqa: E731
    before = gradient_norm(model, loss)
    report = teleport_(find(model, x), loss)
    assert gradient_norm(model, loss) > 1.01 * before
    # Weights are rounded to float32 after the fit; S magnifies that by no more than its largest singular value.
    cond = Factor.of(model[:2](x).detach().mT).condition
    assert_close(
        report.loss_after, report.loss_before, rtol=8 * torch.finfo(torch.float32).eps * cond, atol=0
    )


def test_bfloat16_moves_as_far_as_its_weights_can_tell():
    model = perceptron(20, 40, 30, 3).bfloat16()
    x, y = torch.randn(15, 20).bfloat16(), torch.randint(3, (15,))
    loss = lambda: nn.functional.cross_entropy(model(x).float(), y)  # noqa: E731
    report = teleport_(find(model, x), loss, radius=0.3)
    assert report.gradient_norm_after > report.gradient_norm_before
    # Three layers of weights rounded to eps = 2^-8, and outputs of the size of one.
    assert abs(report.loss_change) < 3 * torch.finfo(torch.bfloat16).eps * 4


def test_pairs_with_a_frozen_parameter_stay():
    model = perceptron(6, 10, 8, 7, 3)
    before = [p.detach().clone() for p in model.parameters()]
    model[0].bias.requires_grad_(False)
    teleport_(symmetries_of(model), closure(model, 5))
    moved = [not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
    assert moved == [False] * 2 + [True] * 6
    for p in model.parameters():
        p.requires_grad_(p is model[0].weight)
    with pytest.raises(ValueError, match="each with a frozen one"):
        teleport_(symmetries_of(model), closure(model, 5))


def test_the_singular_values_of_the_elements_stay_within_the_radius():
    model = perceptron(6, 10, 8, 3)
    symmetries = symmetries_of(model)
    there = search(symmetries, closure(model, 5), radius=0.3)
    for g, pair in zip(there.elements, pairs(symmetries), strict=True):
        assert g.shape == (pair.width, pair.width)
        singular = torch.linalg.svdvals(g).log()
        assert singular.abs().max() <= 0.3
    assert max((g - torch.eye(len(g)).double()).norm().item() for g in there.elements) == pytest.approx(
        there.size
    )


@pytest.mark.parametrize("k", [4, 30])
def test_a_model_of_functions_teleports(k):
    """Its loss, which no link has seen, stays; its gradient is what was predicted."""
    model = written(convolutional(nn.Tanh, nn.MaxPool2d))
    loss = closure(model, k)
    before = loss().item()
    report = teleport_(symmetries_of(model), loss)
    assert report.undone is None and report.size > 0.0
    assert_close(loss().item(), before, rtol=1.5e-8, atol=0)
    assert report.gradient_norm_after > report.gradient_norm_before
    measured = (2 * gradient_norm(model, loss)) ** 0.5
    assert_close(measured, report.gradient_norm_after, rtol=1e-6, atol=0)


def test_a_search_moves_nothing():
    model = perceptron(6, 10, 8, 3)
    loss, before = closure(model, 5), [p.detach().clone() for p in model.parameters()]
    search(symmetries_of(model), loss)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_radius_zero_moves_nothing():
    model = perceptron(6, 10, 8, 3)
    before = [p.detach().clone() for p in model.parameters()]
    report = teleport_(symmetries_of(model), closure(model, 5), radius=0.0)
    for p, b in zip(model.parameters(), before, strict=True):
        assert_close(p.detach(), b, rtol=0, atol=1e-12)
    assert report.size == 0.0 and report.gradient_norm_after == report.gradient_norm_before


def test_where_no_element_is_good_enough_the_reports_say_so():
    """The gradient of a constant is zero wherever one goes."""
    model = perceptron(6, 10, 8, 3)
    symmetries, x = symmetries_of(model), torch.randn(5, 6).double()
    loss = lambda: 1.0 + 0.0 * model(x).sum()  # noqa: E731
    before = [p.detach().clone() for p in model.parameters()]
    report = teleport_(symmetries, loss)
    assert "no element that was tried" in report.undone and report.size == 0.0
    teleport = Teleport(
        torch.optim.SGD(model.parameters(), lr=0.1), symmetries, solver="dependent-ascent", loss=loss
    )
    loss().backward()
    jump = teleport.step()
    assert "no element that was tried" in jump.skipped and teleport.jumps == 0
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_a_loss_without_a_graph_is_refused():
    model = perceptron(6, 10, 3)
    loss = closure(model, 5)
    with pytest.raises(ValueError, match=r"got a value without a graph; return it outside of no_grad"):
        teleport_(symmetries_of(model), lambda: loss().detach())


def test_a_larger_radius_gains_more():
    gains = []
    for radius in (0.03, 0.1, 0.3):
        torch.manual_seed(0)
        model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
        report = teleport_(symmetries_of(model), closure(model, 5), radius=radius)
        gains.append(report.gradient_norm_after / report.gradient_norm_before)
    assert 1.0 < gains[0] < gains[1] < gains[2]


def test_held_out_data_see_less_of_a_small_move():
    changes = []
    for radius in (1e-3, 1e-1):
        torch.manual_seed(0)
        model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
        loss, other = closure(model, 5), closure(model, 100)
        report = teleport_(symmetries_of(model), loss, radius=radius, held_out=other)
        assert_close(report.held_out_after, other().item())
        changes.append(abs(report.held_out_change))
    assert 0.0 < changes[0] < 0.1 * changes[1]


def test_beyond_the_bound_everything_is_put_back():
    model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
    before = [p.detach().clone() for p in model.parameters()]
    loss, symmetries = closure(model, 40), symmetries_of(model)
    report = teleport_(symmetries, loss, radius=0.5, max_loss_change=0.0)  # not even a rounding
    assert report.loss_change != 0.0 and "more than max_loss_change = 0 of it" in report.undone
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    # A control: the same move, within a bound.
    assert teleport_(symmetries, loss, radius=0.5, max_loss_change=1e-6).undone is None
    assert not any(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_an_interrupted_measurement_puts_everything_back():
    model, runs = perceptron(6, 10, 8, 3), []
    loss, before = closure(model, 5), [p.detach().clone() for p in model.parameters()]

    def other():
        runs.append(1)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return loss()

    with pytest.raises(KeyboardInterrupt):
        teleport_(symmetries_of(model), loss, held_out=other)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"steps": True},
        {"radius": "wide"},
        {"radius": -1.0},
        {"radius": float("inf")},
    ],
    ids=str,
)
def test_options_are_checked(options):
    model = perceptron(6, 10, 3)
    with pytest.raises(ValueError, match="dependent.teleport_: steps must be a whole number of at least 1"):
        teleport_(symmetries_of(model), closure(model, 5), **options)


def test_what_is_kept_is_one_of_two():
    model = perceptron(6, 10, 3)
    with pytest.raises(ValueError, match="keep must be one of outputs, loss; got 'nothing'"):
        teleport_(symmetries_of(model), closure(model, 5), keep="nothing")


def test_to_keep_the_loss_alone_gains_more():
    gains = []
    for keep in ("outputs", "loss"):
        torch.manual_seed(0)
        model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
        report = teleport_(symmetries_of(model), closure(model, 9), keep=keep)
        assert_close(report.loss_after, report.loss_before, rtol=1e-8, atol=0)
        gains.append(report.gradient_norm_after / report.gradient_norm_before)
    assert gains[1] > gains[0]
