"""Laws of the actions on two matrices, U sigma(V X): where they are claimed, and controls where they are not."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.dependent import (
    ACTIONS,
    DependentAction,
    Difference,
    Extended,
    Factor,
    Frame,
    One,
    Rotation,
    Two,
    act,
    activation_of,
    rotation,
)

EPS = torch.finfo(torch.float64).eps
H, N, O = 12, 9, 5  # noqa: E741

# (action, activation, largest batch): group actions of GL(h) that keep the outputs of the batch, at full rank.
GROUPS = [
    (Frame(), nn.LeakyReLU(0.1), H),
    (Frame(), nn.Tanh(), H),
    (Frame(), nn.Sigmoid(), H),
    (Two(), nn.LeakyReLU(0.1), H),
    (Rotation(), nn.Sigmoid(), 1),
    (Rotation(), nn.LeakyReLU(0.1), 1),
    (One(), nn.LeakyReLU(0.1), N),
    (One(), Extended(nn.Tanh(), 5.0), N),
    (One(), Extended(nn.Sigmoid(), 5.0), N),
    (One(by_differences=False), nn.LeakyReLU(0.1), N),
]
KEEPERS = [*GROUPS, (Difference(), nn.LeakyReLU(0.1), H), (Difference(), nn.GELU(), H)]
REPAIRED = [Difference(), Frame(), Rotation(), One()]


def name(value):
    if isinstance(value, nn.Module):
        return type(value).__name__
    return getattr(value, "name", None) or str(value)


class Case:
    """A network, a batch, and how much its factorizations magnify rounding."""

    def __init__(self, activation, k):
        self.v, self.u, self.x = (torch.randn(s).double() for s in ((H, N), (O, H), (N, k)))
        self.v = self.v / N**0.5
        self.activation = activation_of(activation)
        if self.activation is None:
            from isoloss.dependent import Activation

            self.activation = Activation(activation, activation)

    def act(self, action, g, v=None, u=None):
        v, u = (self.v if v is None else v), (self.u if u is None else u)
        return act(action, g, v, u, self.x, self.activation)

    def outputs(self, v, u, x=None):
        return u @ self.activation.value(v @ (self.x if x is None else x))

    def bound(self, *elements):
        """Relative error: C eps cond, with C = n^1.5 per operation.

        A move multiplies, inverts the activation (for action 1: up to the inverse of its smallest slope), factors
        and multiplies again, 8 operations; cond is that of the elements and of everything that is factored.
        """
        cond = 1.0
        v, u = self.v, self.u
        for g in elements:
            cond *= torch.linalg.cond(g).item()
            cond *= Factor.of(self.activation.value(g @ v @ self.x)).condition
        cond *= Factor.of(self.x).condition
        z = v @ self.x
        slope = self.activation.slope(z).abs().min().item()
        return 8 * max(H, N) ** 1.5 * EPS * cond / min(1.0, max(slope, 1e-3)) * (1 + u.norm().item())


def near(h=H, size=0.3):
    return torch.eye(h).double() + size * torch.randn(h, h).double() / h**0.5


def test_every_action_is_registered_under_its_name_and_follows_the_protocol():
    for key, action in ACTIONS.items():
        assert action.name == key
        assert isinstance(action(), DependentAction)


@pytest.mark.parametrize("action, activation, most", KEEPERS, ids=name)
@pytest.mark.parametrize("few", [True, False], ids=["one", "most"])
def test_the_outputs_of_the_batch_stay(action, activation, most, few):
    case, g = Case(activation, 1 if few else most), near()
    before = case.outputs(case.v, case.u)
    after = case.outputs(*case.act(action, g))
    assert_close(after, before, rtol=0, atol=case.bound(g) * before.norm().item())


@pytest.mark.parametrize("action, activation, most", GROUPS, ids=name)
@pytest.mark.parametrize("few", [True, False], ids=["one", "most"])
def test_elements_compose(action, activation, most, few):
    """(g2 g1) (U, V) == g2 (g1 (U, V))"""
    case, g1, g2 = Case(activation, 1 if few else most), near(), near()
    in_turn = case.act(action, g2, *case.act(action, g1))
    together = case.act(action, g2 @ g1)
    for a, b in zip(in_turn, together, strict=True):
        assert_close(a, b, rtol=0, atol=case.bound(g1, g2) * (1 + b.norm().item()))


@pytest.mark.parametrize("action, activation, most", GROUPS, ids=name)
def test_inverses_undo_up_to_what_the_identity_does(action, activation, most):
    case, g = Case(activation, most), near()
    back = case.act(action, torch.linalg.inv(g), *case.act(action, g))
    identity = case.act(action, torch.eye(H).double())
    for a, b in zip(back, identity, strict=True):
        assert_close(a, b, rtol=0, atol=case.bound(g, g) * (1 + b.norm().item()))


@pytest.mark.parametrize(
    "action, k",
    [(a, k) for a in REPAIRED for k in (1, 5, 9, 40) if k == 1 or not isinstance(a, Rotation)],
    ids=name,
)
def test_the_identity_moves_nothing(action, k):
    case = Case(nn.LeakyReLU(0.1), k)
    moved = case.act(action, torch.eye(H).double())
    for new, old in zip(moved, (case.v, case.u), strict=True):
        assert_close(new, old, rtol=0, atol=case.bound() * old.norm().item())


@pytest.mark.parametrize("action", [Two(), One(by_differences=False)], ids=name)
def test_the_published_identity_is_none_on_small_batches(action):
    case = Case(nn.LeakyReLU(0.1), 4)
    moved = case.act(action, torch.eye(H).double())
    distance = sum((a - b).norm() / b.norm() for a, b in zip(moved, (case.v, case.u), strict=True))
    assert distance > 0.3
    other = torch.randn(N, 100).double()
    before = case.outputs(case.v, case.u, other)
    assert (case.outputs(*moved, other) - before).norm() > 0.3 * before.norm()


@pytest.mark.parametrize("action", [Difference(), Frame()], ids=name)
def test_off_the_batch_the_change_is_in_proportion_to_the_element(action):
    case, t = Case(nn.LeakyReLU(0.1), 4), torch.randn(H, H).double() / H**0.5
    other = torch.randn(N, 100).double()
    before = case.outputs(case.v, case.u, other)
    changes = [
        (case.outputs(*case.act(action, torch.eye(H).double() + s * t), other) - before).norm().item()
        for s in (1e-4, 1e-5)
    ]
    # To first order; the second is of size s^2.
    assert_close(changes[0] / changes[1], 10.0, rtol=0.02, atol=0)


def test_differences_compose_to_second_order_only():
    case, t1, t2 = Case(nn.Tanh(), 4), torch.randn(H, H).double() / H, torch.randn(H, H).double() / H
    one, gaps = torch.eye(H).double(), []
    for s in (1e-2, 1e-3):
        g1, g2 = one + s * t1, one + s * t2
        in_turn = case.act(Difference(), g2, *case.act(Difference(), g1))[1]
        gaps.append((in_turn - case.act(Difference(), g2 @ g1)[1]).norm().item())
    assert 50 < gaps[0] / gaps[1] < 200
    # A control of the law above: its tolerance sees far smaller gaps.
    assert gaps[0] > 50 * case.bound(g1, g2) * (1 + case.u.norm().item())


def test_a_difference_is_the_smallest_change_that_restores_the_outputs():
    case, g = Case(nn.LeakyReLU(0.1), 4), near()
    v, u = case.act(Difference(), g)
    moved = case.activation.value(v @ case.x)
    outputs = case.outputs(case.v, case.u)
    for _ in range(5):
        other = u + torch.randn(O, H).double() @ (torch.eye(H).double() - moved @ torch.linalg.pinv(moved))
        assert_close(other @ moved, outputs)
        assert (other - case.u).norm() > (u - case.u).norm()


def test_with_more_samples_than_units_a_difference_is_action_2():
    case, g = Case(nn.LeakyReLU(0.1), 40), near()
    for a, b in zip(case.act(Difference(), g), case.act(Two(), g), strict=True):
        assert_close(a, b, rtol=0, atol=case.bound(g) * b.norm().item())
    change = case.outputs(*case.act(Difference(), g)) - case.outputs(case.v, case.u)
    assert change.norm() > 1e-3  # a control: no element keeps so large a batch


def test_without_an_activation_actions_1_and_2_are_the_linear_one():
    case, g = Case(nn.Identity(), N), near()
    expected = g @ case.v, torch.linalg.solve(g, case.u, left=False)
    for a, b in zip(case.act(One(), g), expected, strict=True):
        assert_close(a, b, rtol=0, atol=case.bound(g) * b.norm().item())
    wide = Case(nn.Identity(), H)
    wide.x = torch.randn(N, H).double()
    assert_close(wide.act(Two(), g)[0], g @ wide.v)


def test_where_ranks_differ_the_frame_does_what_a_difference_does():
    case, g = Case(nn.ReLU(), 3), near()
    case.v[:10] = -case.v[:10].abs()
    case.x = case.x.abs()
    case.v[10:] = case.v[10:].abs()  # two units are alive, of three samples
    for a, b in zip(case.act(Frame(), g), case.act(Difference(), g), strict=True):
        assert_close(a, b, rtol=0, atol=0)


def test_the_rotation_is_that_of_the_theorem():
    case, g = Case(nn.Sigmoid(), 1), near()
    v, u = case.act(Rotation(), g)
    before, after = (case.activation.value(w @ case.x)[:, 0] for w in (case.v, g @ case.v))
    assert_close(v, g @ case.v)
    assert_close(u, case.u @ rotation(before) @ torch.linalg.inv(rotation(after)))


def test_the_frame_is_a_true_equivariance():
    """Lemma A.3.6: c(1, Z) = 1, c(g1, g2 Z) c(g2, Z) = c(g1 g2, Z), c(g, Z) sigma(Z) = sigma(g Z)"""
    z, g1, g2 = torch.randn(H, 7).double(), near(), near()
    sigma = activation_of(nn.LeakyReLU(0.1)).value
    one = torch.eye(H).double()

    def c_inverse(g, z):
        return Frame().outgoing(g, one, sigma(z), sigma(g @ z))

    def c(g, z):
        return torch.linalg.inv(c_inverse(g, z))

    bound = 64 * H**1.5 * EPS * torch.linalg.cond(c(g1, g2 @ z)).item() * torch.linalg.cond(c(g2, z)).item()
    assert_close(c(one, z), one, rtol=0, atol=bound)
    assert_close(c(g1, g2 @ z) @ c(g2, z), c(g1 @ g2, z), rtol=0, atol=bound * 10)
    assert_close(c(g1, z) @ sigma(z), sigma(g1 @ z), rtol=0, atol=bound * 10)


def test_float32_keeps_the_outputs_to_its_precision():
    case, g = Case(nn.LeakyReLU(0.1), 10), near()
    case.v, case.u, case.x = case.v.float(), case.u.float(), case.x.float()
    for action in (Difference(), Frame(), Two()):
        v, u = case.act(action, g.float())
        assert v.dtype == u.dtype == torch.float32
        before = case.outputs(case.v, case.u)
        cond = Factor.of(case.activation.value(v @ case.x)).condition
        bound = 8 * H**1.5 * torch.finfo(torch.float32).eps * cond * before.norm().item()
        assert_close(case.outputs(v, u), before, rtol=0, atol=bound)


@pytest.mark.parametrize(
    "action, activation, k, message",
    [
        (Rotation(), nn.Tanh(), 2, "for one sample; got 2 columns"),
        (One(), nn.ReLU(), 2, "no bijection"),
    ],
    ids=name,
)
def test_what_an_action_is_not_defined_for(action, activation, k, message):
    case = Case(activation, k)
    with pytest.raises(ValueError, match=message):
        case.act(action, near())


def test_shapes_are_checked():
    case = Case(nn.Tanh(), 2)
    with pytest.raises(ValueError, match=r"g must be \(h, h\)"):
        case.act(Difference(), near(3))


def test_action_1_keeps_the_batch_where_the_network_computes_the_bijection_and_not_where_it_is_bounded():
    g = near()
    for activation in (nn.Tanh(), Extended(nn.Tanh(), 5.0)):
        torch.manual_seed(0)
        case = Case(activation, 5)
        case.v = 3 * case.v
        before = case.outputs(case.v, case.u)
        assert (g @ case.activation.value(case.v @ case.x)).abs().max() > 1.05  # no tanh is that
        change = (case.outputs(*case.act(One(), g)) - before).norm()
        if isinstance(activation, Extended):
            assert change < case.bound(g) * before.norm()
        else:
            assert change > 1e-2 * before.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_identity_of_action_1_moves_no_saturated_units(dtype):
    case = Case(nn.Tanh(), 5)
    case.v, case.u, case.x = (60 * case.v).to(dtype), case.u.to(dtype), case.x.to(dtype)
    assert (case.v @ case.x).abs().max() > 60
    v, u = case.act(One(), torch.eye(H, dtype=dtype))
    assert torch.equal(v, case.v)
    assert_close(u, case.u)
    published, _ = case.act(One(by_differences=False), torch.eye(H, dtype=dtype))
    assert (published - case.v).norm() > 0.1 * case.v.norm()  # a control: the inverse does not give back Z
