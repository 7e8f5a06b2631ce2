"""The integrals of sigma over sigma', and what they make conserved."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from isoloss import flow

SIGMAS = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
SMOOTH = {"softplus": F.softplus, "exp": torch.exp, "arctan": torch.arctan, "cubic": lambda x: x + x**3}


def two_layers(sigma, t: float = 0.5):
    """The flow of |Y - U sigma(V)|^2, Eq. (2.50)."""
    torch.manual_seed(3)
    y = torch.randn(3, 4).double()
    start = {"u": torch.randn(3, 5).double(), "v": torch.randn(5, 4).double()}
    return flow.gradient_flow(lambda p: (y - p["u"] @ sigma(p["v"])).square().sum(), start, t, rtol=1e-9)


@pytest.mark.parametrize("name", [*SIGMAS, *SMOOTH])
def test_every_neuron_has_a_conserved_quantity_on_whitened_inputs(name):
    """The integrator keeps 9 digits a step and takes a hundred steps; numbers are of size 1 to 100."""
    sigma = SIGMAS.get(name) or SMOOTH[name]
    run = two_layers(sigma)
    key = name if name in SIGMAS else sigma
    first, last = (flow.elementwise_quantity(run[i]["u"], run[i]["v"], key) for i in (0, -1))
    assert first.shape == (5,) and (run[0]["u"] - run[-1]["u"]).norm() > 0.1
    assert_close(last, first, rtol=1e-6, atol=1e-6)


def test_the_integral_of_another_activation_drifts():
    run = two_layers(torch.tanh)
    first, last = (flow.elementwise_quantity(run[i]["u"], run[i]["v"], "identity") for i in (0, -1))
    assert (last - first).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["identity", "tanh", "sigmoid"])
@pytest.mark.parametrize("start", [0.0, 0.7])
def test_closed_forms_agree_with_the_quadrature(name, start):
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    closed, other = (flow.antiderivative(s, start=start)(x) for s in (name, SIGMAS[name]))
    assert_close(closed, other, rtol=1e-11, atol=1e-13)


def test_the_quadrature_is_exact_where_the_integral_is_known():
    """sigma = exp: the integrand is 1. sigma = x^3 + x at 1: the integral of (x^3 + x) / (3 x^2 + 1)."""
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    assert_close(flow.antiderivative(torch.exp)(x), x)
    assert_close(
        flow.antiderivative(lambda x: x + x**3)(x),
        x**2 / 6 + torch.log(3 * x**2 + 1) / 9,
        rtol=1e-12,
        atol=1e-14,
    )


def test_radial_rows_have_one_each_from_any_initialization():
    """Proposition 2.7.1 has the sum, from spectral initializations; each row has its own from any."""
    torch.manual_seed(2)
    y = torch.randn(3, 4).double()
    start = {"u": torch.randn(3, 5).double(), "v": torch.randn(5, 4).double()}
    profile = lambda r: torch.tanh(r) * r  # noqa: E731

    def loss(p):
        norms = p["v"].norm(dim=1, keepdim=True)
        return (y - p["u"] @ (profile(norms) * p["v"] / norms)).square().sum()

    run = flow.gradient_flow(loss, start, 0.3, rtol=1e-9)
    first, last = (flow.radial_quantity(run[i]["u"], run[i]["v"], profile) for i in (0, -1))
    assert (run[0]["v"] - run[-1]["v"]).norm() > 0.1
    assert_close(last, first, rtol=1e-6, atol=1e-6)
    wrong = [flow.radial_quantity(run[i]["u"], run[i]["v"], lambda r: r) for i in (0, -1)]
    assert (wrong[1] - wrong[0]).abs().max() > 1e-2


def test_inverse_norms_have_the_sum_of_squares():
    """g(r) = 1 / r gives (u^2 + v^2) / 2, Eq. (2.39), up to the constant of the lower limit."""
    u, v = torch.randn(3, 5).double(), torch.randn(5, 4).double()
    expected = (u.square().sum(0) + v.square().sum(1) - 1) / 2
    assert_close(flow.radial_quantity(u, v, lambda r: 1 / r), expected)


def test_bad_input_is_refused_in_one_sentence():
    u, v = torch.randn(3, 5), torch.randn(5, 4)
    with pytest.raises(ValueError, match="one of identity, relu.* got 'gelu'"):
        flow.elementwise_quantity(u, v, "gelu")
    with pytest.raises(ValueError, match="strictly monotone"):
        flow.elementwise_quantity(u, v, F.gelu)
    with pytest.raises(ValueError, match=r"m, h\) and \(\*batch, h, n\); got \(3, 5\) and \(4, 5\)"):
        flow.elementwise_quantity(u, v.mT, "tanh")


def test_the_mean_under_xavier_initialization_is_half_of_what_is_printed():
    """(2.16) says m - h, which belongs to Tr(U^T U - V V^T); with the half of (2.14) it is (m - h) / 2.

    The sum of squares of mh and hn numbers of variance 1 / h and 1 / n: standard deviation below 1.3 here.
    """
    m, h, n, draws = 20, 40, 30, 400
    u, v = torch.randn(draws, m, h).double() / h**0.5, torch.randn(draws, h, n).double() / n**0.5
    mean = flow.elementwise_quantity(u, v, "identity").sum(-1).mean()
    assert mean == pytest.approx((m - h) / 2, abs=5 * 1.3 / draws**0.5)
