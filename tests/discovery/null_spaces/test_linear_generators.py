"""Generators in closed form: as many as theory says, the right ones, and none where there is none."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

import isoloss
from discovery.null_spaces.cases import CASES, linear, literal_jacobians, two_layers
from isoloss.discovery import Space, linear_generators, normal, null_space, principal_angles

EPS = torch.finfo(torch.float64).eps


def generators(name: str, features="linear", **options):
    case = CASES[name]
    return linear_generators(case.loss, case.params, case.data, features, **options)


def basis(params, **blocks) -> dict[str, torch.Tensor]:
    return {name: blocks.get(name, torch.zeros_like(t)) for name, t in params.items()}


# ---------------------------------------------------------------- known answers


@pytest.mark.parametrize("name", CASES)
def test_there_are_as_many_as_theory_says(name):
    found = generators(name)
    assert len(found) == CASES[name].linear
    assert found.settled and found.gap > 1e8


@pytest.mark.parametrize("name", [n for n in CASES if "biases" in n or n == "scalar"])
def test_translations_of_hidden_layers_are_affine(name):
    found = generators(name, "affine")
    assert len(found) == CASES[name].affine
    assert found.settled and found.gap > 1e8


def test_the_scalar_network_rescales():
    """Figure 6.3: the generator is diag(1, -1) / sqrt 2, up to its sign, here to rounding."""
    (h,) = generators("scalar").generators
    assert_close(h, torch.diag(torch.tensor([1.0, -1.0]).double()) / 2**0.5, rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("h", [2, 3])
def test_linear_networks_have_the_general_linear_algebra(h):
    """(a W1, -W2 a) for all a: the same span as the matrices written down."""
    found = generators(f"linear 2-{h}-2")
    expected = []
    for i in range(h):
        for j in range(h):
            a = torch.zeros(h, h, dtype=torch.float64)
            a[i, j] = 1.0
            # On row-major W1 (h x 2) and W2 (2 x h).
            expected.append(
                torch.block_diag(torch.kron(a, torch.eye(2)), -torch.kron(torch.eye(2), a.T.contiguous()))
            )
    # 16 or 144 unknowns, singular values a factor 1e4 apart at the least.
    angles = principal_angles(found.generators.flatten(1), torch.stack(expected).flatten(1))
    assert len(angles) == h * h and float(angles.max()) < 1e-9


@pytest.mark.parametrize("name", ["linear 2-2-2", "relu 2-3-2", "scores 2"])
def test_the_basis_is_one_that_can_be_read(name):
    """Elementary matrices, or one neuron each: four or so entries, all of one size."""
    for h in generators(name).generators:
        large = h[h.abs() > 1e-6].abs()
        assert len(large) == 4
        assert_close(large, torch.full_like(large, 0.5), rtol=1e-10, atol=0)


def test_generators_are_orthonormal():
    found = generators("transformer")
    h = found.generators.flatten(1)
    assert_close(h @ h.T, torch.eye(20, dtype=torch.float64), rtol=0, atol=1e-13)


def test_the_transformer_of_section_6_5_5_is_explained():
    """GL(4) between its linear layers and GL(2) in the scores: 20, and nothing else that is linear or affine.

    Figure 6.7 shows 8 generators of this network as not explained by known symmetries. It has 28 parameters, 2 x 2 in
    each of Q, K, V and 2 x 4 in each of W1, W2; 32 are printed.
    """
    case = CASES["transformer"]
    assert Space.of(case.params(1), "here").size == 28
    linear, affine = generators("transformer"), generators("transformer", "affine")
    assert len(linear) == len(affine) == 16 + 4
    assert (linear.algebra().derived, linear.algebra().center) == (15 + 3, 2)


# ---------------------------------------------------------------- directions


@pytest.mark.parametrize("name", ["linear 2-3-2", "relu with biases", "scores 3", "transformer"])
def test_directions_leave_the_loss_unchanged(name):
    """On samples that it was not fitted to, against the literal Jacobian."""
    case, found = CASES[name], generators(name, "affine")
    params, data = case.params(9), case.data(9)
    v, jacobians = found.directions(params, data), literal_jacobians(case.loss, params, data)
    assert v.shape == (9, len(found), jacobians.shape[2])
    scale = jacobians.norm(dim=(1, 2))[:, None] * v.norm(dim=2)
    assert bool((torch.einsum("ndp,nkp->nkd", jacobians, v).norm(dim=2) <= 1e-11 * scale).all())


def test_directions_lie_in_the_null_space():
    """The other route to the same truth: all angles are rounding.

    At a point nine generators move in h^2 - (h - n)(h - m) = 8 directions only (Cor. A.2.10): there is no ninth angle.
    """
    case, found = CASES["linear 2-3-2"], generators("linear 2-3-2")
    params, data = case.params(9), case.data(9)
    null = null_space(case.loss, params, data)
    angles = principal_angles(found.directions(params, data), null.directions)
    assert float(angles[:, :8].max()) < 1e-9 and angles[:, 8].isnan().all()


def test_the_field_is_the_sum_of_the_directions():
    case, found = CASES["relu with biases"], generators("relu with biases", "affine")
    params, data = case.params(4), case.data(4)
    c = torch.randn(3)
    expected = torch.einsum("k,nkp->np", c.double(), found.directions(params, data))
    for i in range(4):
        velocity = found.field(c, {n: t[i] for n, t in params.items()}, data[i])
        assert {n: t.dtype for n, t in velocity.items()} == {n: t.dtype for n, t in params.items()}
        flat = torch.cat([t.flatten() for t in velocity.values()])
        assert_close(flat, expected[i].float())
    at_once = torch.func.vmap(found.field, in_dims=(None, 0, 0))(c, params, data)
    assert_close(torch.cat([t.flatten(1) for t in at_once.values()], 1), expected.float())


def test_the_flow_of_a_generator_keeps_the_function():
    """exp(t h) w has the outputs of w: finite, not only infinitesimal."""
    case, found = CASES["scores 3"], generators("scores 3")
    space, w = Space.of(case.params(1), "here"), case.params(1)
    moved = torch.linalg.matrix_exp(0.7 * found.generators[1]) @ space.flat(w)[0].double()
    x = torch.randn(3, 3, dtype=torch.float64)
    before = case.loss({n: t[0].double() for n, t in w.items()}, x)
    assert_close(case.loss(space.tree(moved), x), before, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- against find


MODELS = {
    "relu": lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)),
    "linear": lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
    "tanh": lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)),
    "deep": lambda: nn.Sequential(
        nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.LeakyReLU(), nn.Linear(2, 1)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_they_are_what_find_reports(name):
    """Two routes that share no line: the graph of the network, and its loss alone. As many, and the same span."""
    model = MODELS[name]()
    names = {n: p.shape for n, p in model.named_parameters()}
    width = model[0].in_features

    def outputs(w, x):
        return functional_call(model, w, (x[None],))[0]

    found = linear_generators(outputs, normal(**names), lambda n: torch.randn(n, width), "affine")
    symmetries = isoloss.find(model, torch.randn(5, width))
    assert len(found) == symmetries.dim
    if not len(found):
        return
    point = {n: p.detach().double()[None] for n, p in model.named_parameters()}
    v = found.directions(point, torch.zeros(1, width))[0]
    orbit = isoloss.landscape.tangent_space(symmetries, dict(model.named_parameters()), names)
    angles = principal_angles(v, orbit.T)
    assert len(angles) == len(found) and float(angles.max()) < 1e-8


# ---------------------------------------------------------------- features


# p (p - 1) / 2 skew matrices, and what vanishes on gradients for another reason: those of W1 and W2 have rank one
# on one column of data, so that their 2 x 2 minors are zero.
SKEW = {"tanh 2-3-2": (12, 3 + 3), "sigmoid 1-3-3": (12, 9), "linear with biases": (12, 0)}


@pytest.mark.parametrize("name", SKEW)
def test_the_gradient_gives_every_skew_matrix(name):
    r"""v = h g with g^T h g = 0 needs no symmetry: there are p (p - 1) / 2 for any loss, tanh and sigmoid included.

    They span the null space at each point, all p - 1 dimensions: of a loss that is one number every data-dependent
    symmetry moves along combinations of them.
    """
    case, (p, minors) = CASES[name], SKEW[name]
    loss = case.loss
    if name == "linear with biases":  # five inputs, seen through one number each

        def loss(w, x):
            return torch.stack([case.loss(w, r) for r in x]).pow(3).sum()

    data = case.data if loss is case.loss else lambda n: torch.randn(n, 5, 2)
    found = linear_generators(loss, case.params, data, "gradient")
    assert len(found) == p * (p - 1) // 2 + minors
    a = torch.randn(p, p, dtype=torch.float64)
    skew = ((a - a.T) / (a - a.T).norm()).flatten()
    h = found.generators.flatten(1)
    assert_close((h @ skew) @ h, skew, rtol=0, atol=1e-10)
    params, x = case.params(3), data(3)
    angles = principal_angles(found.directions(params, x), null_space(loss, params, x).directions)
    assert angles.shape == (3, p - 1) and float(angles.max()) < 1e-9


def test_the_flow_of_a_skew_field_keeps_the_loss_of_a_sigmoid_network():
    """For a finite time, though the network has no continuous symmetry; along a field that is not skew it moves."""
    case = CASES["sigmoid 1-3-3"]
    w, d = case.params(1), case.data(1)
    space, d = Space.of(w, "here"), {n: t[0].double() for n, t in d.items()}
    start = space.flat(w)[0].double()

    def loss(t):
        return case.loss(space.tree(t), d)

    def flow(matrix: torch.Tensor, steps: int) -> torch.Tensor:
        theta, h = start, 1.0 / steps
        field = lambda t: matrix @ torch.func.grad(loss)(t)  # noqa: E731
        for _ in range(steps):
            k1 = field(theta)
            k2 = field(theta + h / 2 * k1)
            k3 = field(theta + h / 2 * k2)
            theta = theta + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(theta + h * k3))
        return theta

    a = torch.randn(12, 12, dtype=torch.float64) / 4
    coarse, fine = (abs(float(loss(flow(a - a.T, n)) - loss(start))) for n in (20, 40))
    assert float((flow(a - a.T, 40) - start).norm()) > 0.1
    assert fine < coarse / 10 and fine < 1e-6  # fourth order: a sixteenth, and zero in the limit
    assert abs(float(loss(flow(a + a.T, 40)) - loss(start))) > 1e-2


def test_two_numbers_in_three_dimensions_are_kept_by_the_cross_product():
    """With d < p numbers to keep there is such a field as well: star (dL1 ^ dL2)."""
    f = lambda w, x: torch.stack([torch.tanh(w @ x), (w**3).sum()])  # noqa: E731
    w, x = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    rows = literal_jacobians(f, w, x)
    field = torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]
    assert float(principal_angles(field, null_space(f, w, x).directions).max()) < 1e-6


def test_own_features_may_depend_on_the_data():
    """tanh(w1 x) w2: with x w2 and 1 - tanh^2 among the features there is one; the rows are known by hand."""

    def loss(w, x):
        return w[1] * torch.tanh(w[0] * x[0])

    def features(w, x):
        z = torch.tanh(w[0] * x[0])
        return torch.stack([z, w[1] * x[0] * (1 - z * z), w[0]])

    found = linear_generators(loss, lambda n: torch.randn(n, 2), lambda n: torch.randn(n, 1), features)
    assert len(found) == 1 and found.features == "features"
    h = torch.zeros(2, 3, dtype=torch.float64)
    h[0, 0], h[1, 1] = 0.5**0.5, -(0.5**0.5)
    assert_close(found.generators[0], h, rtol=0, atol=1e-12)
    assert len(linear_generators(loss, lambda n: torch.randn(n, 2), lambda n: torch.randn(n, 1))) == 0


def test_features_that_depend_on_each_other_move_nothing_for_nothing():
    """A feature twice gives h (phi, phi) = 0 for free: no generator, though J h phi = 0."""
    case = CASES["scalar"]
    twice = lambda w, x: torch.cat([w, w])  # noqa: E731
    found = linear_generators(case.loss, case.params, case.data, twice)
    assert len(found) == 1
    assert float(found.directions(case.params(5), case.data(5)).norm(dim=2).min()) > 0


def test_features_of_any_size_count_alike():
    """Parameters of a millionth beside the constant 1: whitened, the affine generators are found all the same."""
    case = CASES["linear with biases"]
    small = lambda n: {k: 1e-6 * t for k, t in case.params(n).items()}  # noqa: E731
    found = linear_generators(case.loss, small, lambda n: 1e6 * case.data(n), "affine")
    assert len(found) == 6 and found.settled


# ---------------------------------------------------------------- samples


def test_samples_that_refute_a_generator_join_the_others():
    """Where w1 < 0 nothing sees w3, which is free along any linear field there: 3 + 1 generators; everywhere, 1."""

    def loss(w, x):
        return w[0] * w[1] + torch.relu(w[0]) * w[2] + 0.0 * x[0]

    def sampler(narrow: int):
        calls = iter(range(100))
        return lambda n: torch.cat(
            [-torch.rand(n, 1) if next(calls) < narrow else torch.randn(n, 1), torch.randn(n, 2)], 1
        )

    def data(n):
        return torch.randn(n, 1)

    # Three calls see the shapes, the fourth is fitted to.
    hasty = linear_generators(loss, sampler(4), data, rounds=1)
    assert len(hasty) == 4 and not hasty.settled and hasty.error > 1e-3
    patient = linear_generators(loss, sampler(4), data)
    assert len(patient) == 1 and patient.settled and patient.samples == 2 * hasty.samples
    # What no sample ever visits nobody can know.
    assert len(linear_generators(loss, sampler(100), data)) == 4


def test_more_samples_change_nothing():
    few, many = generators("linear 2-2-2"), generators("linear 2-2-2", samples=1000)
    assert float(principal_angles(few.generators.flatten(1), many.generators.flatten(1)).max()) < 1e-9


def test_too_few_samples_are_said():
    found = generators("linear 2-2-2", samples=20, rounds=1)
    assert len(found) > 4 and not found.settled
    assert str(found).endswith("; not settled, give more samples")


def test_the_sum_of_squares_would_lose_half_of_the_digits():
    """What the triangular factor is for: a loss that breaks the symmetry by 3e-8 has no generator.

    The Gram matrix of the same rows has the square in its place, which is rounding.
    """
    loss = lambda w, x: w[0] * w[1] * x[0] + 2.5e-8 * w[0] * x[0]  # noqa: E731
    draw = (lambda n: torch.randn(n, 2)), (lambda n: torch.randn(n, 1))
    found = linear_generators(loss, *draw)
    assert len(found) == 0
    relative = found.singular_values / found.singular_values[0]
    assert 1e-8 < float(relative[-1]) < 1e-7
    assert float(relative[-1]) ** 2 < 100 * EPS


def test_it_prints_as_a_sentence():
    text = str(generators("linear 2-2-2"))
    assert text.startswith("4 generators with linear features (h is 8 x 8; singular values ")
    assert "128 samples, error on others" in text
    assert str(generators("tanh 2-3-2")).startswith("no generator with linear features (h is 12 x 12;")


def test_singular_values_are_those_of_the_stacked_rows():
    """The literal twin: all rows in one matrix, features whitened, one decomposition."""
    case = two_layers(linear, 1, 1, 1, 1)
    drawn: list = []

    def keep(n):
        drawn.append((case.params(n), case.data(n)))
        return drawn[-1][0]

    found = linear_generators(case.loss, keep, lambda n: drawn[-1][1], samples=40)
    params, data = drawn[3]  # those before were to see the shapes
    jacobians = literal_jacobians(case.loss, params, data)
    phi = Space.of(params, "here").flat(params).double()
    phi = phi / phi.norm(dim=1, keepdim=True)
    rows = jacobians[:, 0] / jacobians[:, 0].norm(dim=1, keepdim=True)
    covariance = phi.T @ phi / 40
    root = torch.linalg.cholesky(covariance)  # any root whitens up to a rotation
    white = torch.linalg.solve_triangular(root, phi.T, upper=False).T
    stacked = torch.stack([torch.kron(r, f) for r, f in zip(rows, white, strict=True)]) / 40**0.5
    expected = torch.linalg.svdvals(stacked)
    assert_close(found.singular_values, expected, rtol=0, atol=100 * EPS)


# ---------------------------------------------------------------- what is refused


def two(n):
    return torch.randn(n, 2)


def once(n):
    return torch.ones(n, 2)


SHAPES = iter(range(1, 100))
REFUSED = {
    "no function": (
        torch.randn(3, 2),
        two,
        {},
        "sample_params must be a function of the number of samples; got tensor",
    ),
    "other number": (
        lambda n: torch.randn(7, 2),
        two,
        {},
        r"sample_params\(n\) must return n samples .* got 7 for n = 2",
    ),
    "other shapes": (lambda n: torch.randn(n, next(SHAPES)), two, {}, "the same shapes from call to call"),
    "the same": (once, once, {}, "drawn anew at each call; got the same parameters and data again"),
    "nan": (
        lambda n: torch.randn(n, 2) / 0 * 0,
        two,
        {},
        "samples must be finite; got nan or inf from sample_params",
    ),
    "name": (
        two,
        two,
        {"features": "quadratic"},
        "one of 'linear', 'affine', 'gradient', or a function; got 'quadratic'",
    ),
    "matrix": (
        two,
        two,
        {"features": lambda w, x: w.outer(x)},
        r"must be a float64 vector \(q,\); got .* \(2, 2\)",
    ),
    "bad feature": (
        two,
        two,
        {"features": lambda w: w},
        r"features must take the parameters and the data .* TypeError",
    ),
    "nan feature": (
        two,
        two,
        {"features": lambda w, x: (w * 1e9).clamp(max=0).log() * w},
        "features must be finite; got",
    ),
    "limit": (
        lambda n: torch.randn(n, 70),
        two,
        {},
        "4,096 at the most; got 4,900: 70 parameters times 70 features",
    ),
    "samples": (
        two,
        two,
        {"samples": 0},
        "samples and rounds must be 1 at the least; got samples=0, rounds=4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_are_told(name):
    params, data, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)linear_generators: .*{message}"):
        linear_generators(lambda w, x: w.sum() * x.sum(), params, data, **options)


def four(n: int) -> torch.Tensor:
    return torch.randn(n, 4)


def test_samples_where_the_loss_is_constant_say_nothing():
    """A neuron that hardly ever fires: 14 of 16 matrices would be generators, for want of slopes."""
    with pytest.raises(ValueError, match="at a tenth of the samples at least; got a derivative of zero at"):
        linear_generators(lambda w, x: torch.relu(w @ x - 5), four, four)
    assert not len(linear_generators(lambda w, x: torch.relu(w @ x), four, four))


def test_the_gradient_of_many_numbers_is_refused():
    with pytest.raises(
        ValueError, match="features='gradient' are for a loss that is one number; got 2 outputs"
    ):
        generators("relu with biases", "gradient")
