import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dependent.nets import batch, closure, convolutional, elements, perceptron, symmetries_of
from isoloss import find
from isoloss.dependent import Difference, Extended, Frame, One, Rotation, Two, act_, pairs, teleport_


def parameters(model):
    return [p.detach().clone() for p in model.parameters()]


def unchanged(model, before):
    return all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def tolerance(loss):
    # Four layers, each fitted with a condition number of up to 1e4 in these networks: 1e4 n^1.5 eps.
    return 1e4 * 64 * torch.finfo(torch.float64).eps * abs(loss)


DEEP = [
    (Difference(), nn.LeakyReLU, 4),
    (Difference(), nn.GELU, 4),
    (Frame(), nn.LeakyReLU, 4),
    (Frame(), nn.Tanh, 4),
    (Two(), nn.LeakyReLU, 4),
    (Rotation(), nn.Sigmoid, 1),
    (Rotation(), nn.LeakyReLU, 1),
    (One(), nn.LeakyReLU, 4),
    (One(), lambda: Extended(nn.Tanh(), 5.0), 4),
]


def name(value):
    return getattr(value, "name", None) or getattr(value, "__name__", None) or str(value)


@pytest.mark.parametrize("action, activation, k", DEEP, ids=name)
@pytest.mark.parametrize("bias", [True, False])
def test_all_pairs_of_a_deep_network_move_at_once_and_the_loss_stays(action, activation, k, bias):
    model = perceptron(5, 8, 7, 9, 3, activation=activation, bias=bias)
    loss, before = closure(model, k), parameters(model)
    report = act_(symmetries_of(model), elements(model), loss, action=action)
    assert abs(report.loss_change) < tolerance(report.loss_before) and report.undone is None
    assert_close(report.loss_after, loss().item(), rtol=0, atol=1e-15)
    moved = [(p - b).norm() / b.norm() for p, b in zip(model.parameters(), before, strict=True)]
    bias_of_the_last_layer = 1 if bias and not action.absorbs_bias else 0
    assert all(
        m > 1e-3 for m in moved[: len(moved) - bias_of_the_last_layer - (action.name == "action-1" and bias)]
    )


def test_the_hidden_layers_are_those_of_the_moved_network():
    """With the pre-activations of the old network, as in published code, the loss moves."""
    model = perceptron(5, 8, 7, 3, activation=nn.Tanh)
    x, _ = batch(model, 4)
    first, second, last = model[0], model[2], model[4]
    v, u, w = (torch.cat([m.weight, m.bias[:, None]], 1).detach() for m in (first, second, last))
    g1, g2 = elements(model)
    ones = torch.ones(1, 4).double()
    add = lambda s: torch.cat([s, ones])  # noqa: E731
    columns = add(x.mT)
    s1, s1_moved = add((v @ columns).tanh()), add((g1 @ v @ columns).tanh())
    z2 = u @ s1
    rule = Difference()
    u_moved = g2 @ rule.outgoing(g1, u, s1, s1_moved)
    # Z of the moved network is g2 times the old one; Z of the old hidden layer is something else.
    right = rule.outgoing(g2, w, add(z2.tanh()), add((g2 @ z2).tanh()))
    wrong = rule.outgoing(g2, w, add(z2.tanh()), add((g2 @ u @ s1_moved).tanh()))
    out = lambda w: w @ add((u_moved @ s1_moved).tanh())  # noqa: E731
    assert_close(out(right), w @ add(z2.tanh()))
    assert (out(wrong) - w @ add(z2.tanh())).norm() > 1e-3
    act_(symmetries_of(model), [g1, g2], lambda: model(x).sum())
    assert_close(torch.cat([last.weight, last.bias[:, None]], 1).detach(), right)
    assert_close(torch.cat([second.weight, second.bias[:, None]], 1).detach(), u_moved)


@pytest.mark.parametrize("pool", [nn.AvgPool2d, nn.MaxPool2d], ids=lambda p: p.__name__)
@pytest.mark.parametrize("action", [Difference(), Frame()], ids=name)
def test_convolutions_on_a_batch_they_can_fit(action, pool):
    """One image: 9 positions after pooling, 36 + 1 weights per channel; then 1 sample and 45 + 1 weights."""
    model = convolutional(nn.LeakyReLU, pool)
    report = act_(symmetries_of(model), elements(model), closure(model, 1), action=action)
    assert abs(report.loss_change) < tolerance(report.loss_before)
    large = act_(symmetries_of(model), elements(model), closure(model, 40), action=action)
    assert abs(large.loss_change) > 1e-6  # a control: 360 patches cannot be kept


def images():
    """On one image of 6 x 6 no layer has more columns than weights to fit them, and pooling lies between."""
    layers = [
        nn.Conv2d(2, 4, 3),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 2),
        nn.LeakyReLU(),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Linear(5, 6), nn.LeakyReLU(), nn.Linear(6, 3)).double(), torch.randn(
        1, 2, 6, 6
    ).double()


def deep(k):
    model = perceptron(5, 8, 7, 9, 3)
    return model, batch(model, k)[0]


@pytest.mark.parametrize(
    "action, made, is_group_action",
    [
        (Frame(), lambda: deep(4), True),
        (Frame(), images, True),
        (Rotation(), lambda: deep(1), True),
        (Difference(), lambda: deep(4), False),
        (Difference(), images, False),
        (One(), lambda: deep(4), False),
    ],
    ids=["frame", "frame on images", "rotation", "difference", "difference on images", "action 1"],
)
def test_which_are_group_actions_of_all_pairs_at_once(action, made, is_group_action):
    """Proposition A.3.5 for one sample, and with the frame up to the width: (g2 g1) w == g2 (g1 w), g^-1 (g w) == w."""
    model, x = made()
    symmetries, loss = find(model, x), lambda: model(x).square().sum()
    widths = [p.width for p in pairs(symmetries)]
    g1, g2 = (
        [torch.eye(n).double() + 0.1 * torch.randn(n, n).double() / n**0.5 for n in widths] for _ in "12"
    )
    home = parameters(model)

    def where(*moves):
        for g in moves:
            act_(symmetries, g, loss, action=action)
        end = parameters(model)
        with torch.no_grad():
            for p, b in zip(model.parameters(), home, strict=True):
                p.copy_(b)
        return end

    def gap(ends, others):
        return max(float((a - b).norm() / b.norm()) for a, b in zip(ends, others, strict=True))

    composed = gap(where(g1, g2), where([b @ a for a, b in zip(g1, g2, strict=True)]))
    undone = gap(where(g1, [torch.linalg.inv(g) for g in g1]), home)
    assert gap(where(g1), home) > 1e-2
    if is_group_action:
        assert max(composed, undone) < tolerance(1.0)
    else:
        assert min(composed, undone) > 1e-4


def test_activations_in_place_are_seen_through():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)).double()
    report = act_(symmetries_of(model), elements(model), closure(model, 3))
    assert abs(report.loss_change) < tolerance(report.loss_before)


@pytest.mark.parametrize("action", [Difference(), Frame(), One()], ids=name)
def test_the_identity_moves_nothing_on_the_batch_or_off_it(action):
    model = perceptron(5, 8, 7, 3)
    before, loss, other = parameters(model), closure(model, 4), closure(model, 50)
    one = [torch.eye(p.width).double() for p in pairs(symmetries_of(model))]
    report = act_(symmetries_of(model), one, loss, action=action, held_out=other)
    for p, b in zip(model.parameters(), before, strict=True):
        assert_close(p.detach(), b, rtol=0, atol=1e-12)
    assert abs(report.held_out_change) < 1e-12


def test_none_moves_nothing_and_the_others_move():
    model = perceptron(5, 8, 7, 3)
    before = parameters(model)
    g = elements(model)[0]
    act_(symmetries_of(model), [g, None], closure(model, 4))
    moved = [not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
    assert moved == [True, True, True, True, False, False]


def test_held_out_data_are_reported():
    model = perceptron(5, 8, 3)
    loss, other = closure(model, 4), closure(model, 60)
    before = other().item()
    report = act_(symmetries_of(model), elements(model), loss, held_out=other)
    assert_close([report.held_out_before, report.held_out_after], [before, other().item()])
    assert report.as_dict()["held_out_after"] == report.held_out_after
    assert report.held_out_change == report.held_out_after - before


def test_beyond_the_bound_everything_is_put_back():
    model = perceptron(5, 8, 7, 3)
    loss, before = closure(model, 60), parameters(model)  # more samples than units: the loss moves
    free = act_(symmetries_of(model), elements(model, 0.5), loss)
    assert free.undone is None and not unchanged(model, before)
    model = perceptron(5, 8, 7, 3)
    loss, before = closure(model, 60), parameters(model)
    addresses = [p.data_ptr() for p in model.parameters()]
    report = act_(symmetries_of(model), elements(model, 0.5), loss, max_loss_change=1e-9)
    assert "more than max_loss_change" in report.undone and unchanged(model, before)
    assert report.loss_after != report.loss_before
    assert [p.data_ptr() for p in model.parameters()] == addresses


def test_a_move_that_is_not_finite_changes_nothing():
    model = perceptron(5, 8, 3)
    before = parameters(model)
    with pytest.raises(ValueError, match="finite"):
        act_(symmetries_of(model), [torch.full((8, 8), torch.inf).double()], closure(model, 4))
    assert unchanged(model, before)


def test_an_error_in_the_second_run_changes_nothing():
    model, runs = perceptron(5, 8, 3), []
    loss, before = closure(model, 4), parameters(model)

    def failing():
        runs.append(loss())
        if len(runs) == 2:
            raise RuntimeError("no")
        return runs[-1]

    with pytest.raises(RuntimeError, match="no"):
        act_(symmetries_of(model), elements(model), failing)
    assert unchanged(model, before)


def test_random_numbers_and_statistics_are_left_alone():
    model = nn.Sequential(*perceptron(5, 8, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    x = torch.randn(6, 5).double()
    symmetries = find(model, x)
    statistics, state = [b.clone() for b in model.buffers()], torch.get_rng_state()
    g = [torch.eye(8).double() + 0.1 * torch.randn(8, 8).double()]
    torch.set_rng_state(state)
    report = act_(symmetries, g, lambda: model(x).square().sum())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), statistics, strict=True))
    assert abs(report.loss_change) < 1e-9  # both runs dropped the same units


@pytest.mark.parametrize("frozen, name", [(0, "0.weight"), (2, "2.bias"), (4, "4.weight")])
def test_frozen_parameters_stay(frozen, name):
    """An exact symmetry keeps the function and may move them; this changes it off the batch."""
    model = perceptron(5, 8, 7, 9, 3)
    symmetries, g, loss = symmetries_of(model), elements(model), closure(model, 4)
    before = parameters(model)
    dict(model.named_parameters())[name].requires_grad_(False)
    with pytest.raises(ValueError, match=f"with {name} frozen; put None there"):
        act_(symmetries, g, loss)
    assert unchanged(model, before)
    free = [
        e
        if all(p.requires_grad for p in (*model[2 * i].parameters(), *model[2 * i + 2].parameters()))
        else None
        for i, e in enumerate(g)
    ]
    assert 0 < free.count(None) < 3
    report = act_(symmetries, free, loss)
    assert abs(report.loss_change) < tolerance(report.loss_before)
    moved = [n for (n, p), b in zip(model.named_parameters(), before, strict=True) if not torch.equal(p, b)]
    assert moved and not any(n.startswith(f"{frozen}.") for n in moved)


@pytest.mark.parametrize(
    "given, message",
    [
        (lambda m: elements(m)[:1], "one element per pair; got 1 for 2"),
        (lambda m: [torch.eye(3)] * 2, "a matrix of its width, 8"),
    ],
)
def test_elements_must_fit(given, message):
    model = perceptron(5, 8, 7, 3)
    with pytest.raises(ValueError, match=message):
        act_(symmetries_of(model), given(model), closure(model, 4))


@pytest.mark.parametrize("limit", [-1.0, float("nan"), "0.1", True])
def test_a_bound_must_be_one(limit):
    model = perceptron(5, 8, 7, 3)
    symmetries, loss, before = symmetries_of(model), closure(model, 4), parameters(model)
    with pytest.raises(ValueError, match=r"dependent\.act_: max_loss_change must be a number .* got"):
        act_(symmetries, elements(model), loss, max_loss_change=limit)
    with pytest.raises(ValueError, match=r"dependent\.teleport_: max_loss_change must be a number .* got"):
        teleport_(symmetries, loss, max_loss_change=limit)
    assert unchanged(model, before)


def test_the_loss_must_be_one_number_of_one_run():
    model = perceptron(5, 8, 3)
    x, _ = batch(model, 4)
    symmetries, g = symmetries_of(model), elements(model)
    with pytest.raises(ValueError, match="one number"):
        act_(symmetries, g, lambda: model(x))
    with pytest.raises(ValueError, match="used once per run"):
        act_(symmetries, g, lambda: model(x).sum() + model(x).sum())
    with pytest.raises(ValueError, match="run every layer"):
        act_(symmetries, g, lambda: x.sum())


def test_action_1_says_when_it_cannot_invert():
    model = perceptron(5, 8, 3, activation=nn.GELU)
    with pytest.raises(ValueError, match="no bijection"):
        act_(symmetries_of(model), elements(model), closure(model, 4), action=One())
