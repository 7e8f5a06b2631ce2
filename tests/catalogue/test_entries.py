"""Every entry is what it says: a symmetry of its kind, a group action, of its dimension, and found by `find`."""

import re
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from isoloss import find
from isoloss.catalogue import CATALOGUE, Catalogue, Kind, Problem, is_symmetry
from isoloss.dependent import rotation
from isoloss.groups import Translation

every = pytest.mark.parametrize("name", [e.name for e in CATALOGUE])
networks = pytest.mark.parametrize("name", [e.name for e in CATALOGUE.of_kind(Kind.NETWORK)])

# By hand, from the sizes of the examples.
DIMENSIONS = {
    "Linear": 4 * 4,
    "Equivariant activation": 4,
    "Homogeneous": 4,
    "Tanh": 0,
    "Radial rescaling": 6,  # planes of R^4
    "Batchnorm": 3,
    "Layer normalization": 1,
    "Group normalization": 2,
    "Weight normalization": 4,
    "Softmax": 3,
    "Pointwise": 0,
    "Radial basis function": 0,
    "Attention": 3 * 3,
    "Multi-head attention, queries and keys": 2 * 3 * 3,
    "Multi-head attention, values and outputs": 2 * 2 * 2,
    "Multi-head attention, heads": 0,
    "LoRA": 2 * 2,
    "Self-supervised linear network": 3,  # planes of R^3
    "Two-layer network, one sample": 4 * 4,
    "Residual of a linear model": 4 * 4 - 4,  # A x = x are four equations
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(name, seed=0, scale=0.5):
    """The entry, its example, and an element that moves something."""
    entry = CATALOGUE[name]
    example = entry.example()
    random = seeded(seed)
    while True:
        g = example.sample(random, scale)
        if not torch.equal(g, example.identity()):
            return entry, example, g


def acted(example, g, theta, x):
    """All parameters after g, whatever the action takes."""
    data = (x,) if example.samples == 1 else ()
    return theta | example.act(g, theta, *data)


def close(a, b):
    for name in a:
        # two inverses of matrices near the identity and a few products: well below 1e4 roundings
        assert_close(a[name], b[name], rtol=1e-11, atol=1e-11)


def test_the_catalogue_has_every_row_and_example_of_chapter_1():
    rows = [e.name for e in CATALOGUE if "Table 1.1" in e.source]
    assert rows == [
        "Linear",
        "Homogeneous",
        "Tanh",
        "Radial rescaling",
        "Batchnorm",
        "Softmax",
        "Pointwise",
        "Radial basis function",
    ]
    sources = " ".join(e.source for e in CATALOGUE)
    for number in [f"1.2.{i}" for i in range(2, 14)] + ["1.3.2", "1.3.5", "1.3.7"]:
        assert re.search(rf"(Ex|Prop)\. {re.escape(number)}\b", sources), number
    kinds = {"1.3.2": Kind.LOSS, "1.3.5": Kind.DATA_DEPENDENT, "1.3.7": Kind.DISTRIBUTION}
    for e in CATALOGUE:
        assert e.kind is next((k for n, k in kinds.items() if n in e.source), Kind.NETWORK)
    assert len({e.name for e in CATALOGUE}) == len(CATALOGUE)


@every
@pytest.mark.parametrize("seed", range(3))
def test_every_entry_is_a_symmetry_of_its_kind(name, seed):
    entry, example, g = drawn(name, seed)
    verdict = is_symmetry(
        entry.transformation(g, example),
        example.problem,
        entry.kind,
        of=entry.of,
        batch=example.samples,
        generator=seeded(seed),
    )
    assert verdict.holds and verdict.decisive, str(verdict)


@every
def test_what_is_left_behind_breaks_it(name):
    """The negative control: without one of the parameters that should move, or moved twice if there is but one."""
    entry, example, g = drawn(name)
    theta = example.problem.draw_parameters(seeded())
    x = example.problem.draw_data(example.samples, seeded())
    moving = [n for n, t in acted(example, g, theta, x).items() if not torch.allclose(t, theta[n], rtol=1e-9)]
    alone = {
        "Batchnorm": lambda t: t * torch.linspace(0.5, 2, t.shape[1]).double(),  # columns, not rows
        "Weight normalization": lambda t: t * torch.linspace(0.5, 2, t.shape[1]).double(),
        "Softmax": lambda t: (
            t + torch.linspace(0, 1, t.shape[0]).double()[:, None]
        ),  # not the same for all rows
        "Self-supervised linear network": lambda t: 2.0 * t,  # no rotation
        "Residual of a linear model": lambda t: (
            t @ torch.diag(torch.linspace(1, 2, 4).double())
        ),  # moves the mean
    }
    if name in alone:
        (only,) = moving
        broken = [lambda theta, x=None: {only: alone[name](theta[only])}]
    else:
        assert len(moving) > 1
        broken = [
            lambda theta, x, left=left: {n: t for n, t in acted(example, g, theta, x).items() if n != left}
            for left in moving
        ]
    for transformation in broken:
        verdict = is_symmetry(transformation, example.problem, entry.kind, of=entry.of, batch=example.samples)
        assert not verdict.holds, str(verdict)


@every
def test_every_entry_is_a_group_action(name):
    """The identity moves nothing, and g1 after g2 is their product (Def. 1.1.2, 1.3.3)."""
    _, example, g1 = drawn(name, 1)
    g2 = drawn(name, 2)[2]
    theta = example.problem.draw_parameters(seeded())
    x = example.problem.draw_data(example.samples, seeded())
    close(acted(example, example.identity(), theta, x), theta)
    close(
        acted(example, g1, acted(example, g2, theta, x), x),
        acted(example, example.group.compose(g1, g2), theta, x),
    )
    assert example.group.contains(g1)


def tangents(example, theta, x, step=1e-5):
    """The velocities of the action along a basis of the algebra, by central differences: it is smooth."""
    zero = torch.zeros(*example.batch, *example.group.algebra_shape).double()
    rows = []
    for place in [()] if not example.batch else [(i,) for i in range(example.batch[0])]:
        for b in example.group.basis(dtype=torch.float64):
            a = zero.clone()
            a[place] = b
            ends = [acted(example, example.group.exp(s * a), theta, x) for s in (step, -step)]
            rows.append(torch.cat([(ends[0][n] - ends[1][n]).flatten() / (2 * step) for n in theta]))
    return torch.stack(rows)


@every
def test_dimensions(name):
    """The stated one, that of the group, and the rank of the infinitesimal action at a generic point are one."""
    _, example, _ = drawn(name)
    assert example.dim == DIMENSIONS[name]
    if not example.dim:
        return
    theta = example.problem.draw_parameters(seeded())
    x = example.problem.draw_data(example.samples, seeded())
    rows = tangents(example, theta, x)
    singular = torch.linalg.svdvals(rows)
    # differences err by step^2 and eps / step, 1e-10; directions of the orbit are of the size of the weights
    assert len(rows) == example.dim and int((singular > 1e-6 * singular[0]).sum()) == example.dim


def variants(symmetry, example, g):
    """The element that a finder may mean by g: itself, its inverse, or the contragredients."""
    group = example.group
    inverse = group.inverse(g)
    found = [g, inverse]
    if len(group.element_shape) == 2:
        found += [g.mT, inverse.mT]
    shape = (*symmetry.batch, *group.element_shape)
    return [v.reshape(shape) for v in found if v.numel() == torch.Size(shape).numel()]


@networks
def test_find_finds_the_group_with_the_same_action(name):
    _, example, g = drawn(name)
    symmetries = find(example.model, example.inputs)
    theta = example.problem.draw_parameters(seeded())
    home = dict(example.model.named_parameters()) | dict(example.model.named_buffers()) | theta
    alike = [s for s in symmetries if type(s.group) is type(example.group)]
    whole = [s for s in alike if s.dim == example.dim]
    if whole and not isinstance(example.group, Translation):
        expected = theta | example.act(g, theta)
        assert any(
            all(torch.allclose(moved[n], expected[n], rtol=1e-9, atol=1e-9) for n in theta)
            for s in whole
            for moved in (home | s.act(v, home) for v in variants(s, example, g))
        )
        return
    # Scalings and translations commute, and how they are cut is up to the finder: the directions must be the same.
    assert sum(s.dim for s in alike) == example.dim, symmetries.table
    zero = {n: torch.zeros_like(t) for n, t in theta.items()}
    found = []
    for s in alike:
        for b in torch.eye(s.dim).double().reshape(s.dim, *s.batch, *s.group.algebra_shape):
            velocity = zero | s.generator(b, home)
            found.append(torch.cat([velocity[n].flatten() for n in theta]))
    stated = tangents(example, theta, None)
    ranks = [torch.linalg.matrix_rank(m, rtol=1e-7) for m in (torch.stack(found), stated)]
    both = torch.linalg.matrix_rank(torch.cat([torch.stack(found), stated]), rtol=1e-7)
    assert ranks == [example.dim, example.dim] and both == example.dim


def test_equivariant_activations_have_the_representation_that_is_printed():
    """Prop. 1.2.3 asks for sigma(g z) = rho(g) sigma(z), and rho a homomorphism."""
    example = CATALOGUE["Equivariant activation"].example()
    sigma = example.model[1]
    g, h = example.sample(seeded(1)), example.sample(seeded(2))
    z = torch.randn(10, 4).double()
    rho = lambda g: g * g.roll(-1)  # noqa: E731
    assert_close(sigma(g * z), rho(g) * sigma(z), rtol=1e-13, atol=1e-13)
    assert_close(rho(g * h), rho(g) * rho(h), rtol=1e-13, atol=1e-13)


def test_softmax_over_samples_has_no_translations():
    """Ex. 1.2.8 prints "applies on the rows of W X", which are samples; the symmetry needs the columns, the classes."""
    _, example, g = drawn("Softmax")
    theta, x = example.problem.draw_parameters(seeded()), example.problem.draw_data(4, seeded())
    here, there = (x @ t["0.weight"].mT for t in (theta, theta | example.act(g, theta)))
    assert_close(there.softmax(1), here.softmax(1), rtol=1e-13, atol=1e-13)
    assert (there.softmax(0) - here.softmax(0)).abs().max() > 1e-2


def test_degrees_may_differ_from_unit_to_unit():
    """Ex. 1.2.4 speaks of a vector of degrees; each unit has the charge of its own, and no other."""
    degrees = torch.tensor([1.0, 2.0, 0.5, 3.0]).double()
    _, example, g = drawn("Homogeneous")

    def network(theta, x):
        z = x @ theta["0.weight"].mT + theta["0.bias"]
        return z.relu() ** degrees @ theta["2.weight"].mT + theta["2.bias"]

    def scaled(powers):
        return lambda theta: {
            "0.weight": g[:, None] * theta["0.weight"],
            "0.bias": g * theta["0.bias"],
            "2.weight": theta["2.weight"] * g**-powers,
        }

    problem = Problem(network, example.problem.draw_parameters, example.problem.draw_data)
    assert is_symmetry(scaled(degrees), problem, "neural network").holds
    assert not is_symmetry(scaled(degrees.flip(0)), problem, "neural network").holds


def test_the_matrix_printed_in_example_1_3_5_is_the_one_that_is_used():
    """(R_z)_ij = z_i cos(a_{j-1}) / (sin a_1 ... sin a_{j-1}) for j <= i, -|z| sin(a_i) for j = i + 1, else 0."""
    z = torch.randn(5).double()
    r, h = z.norm(), len(z)
    tails = z.square().flip(0).cumsum(0).flip(0).sqrt()
    # spherical coordinates: z_i = r sin(a_1) ... sin(a_{i-1}) cos(a_i), a_0 = 0, a_h = 0 for the last one
    angles = [torch.zeros(()).double()]
    for i in range(h - 1):
        below = tails[i + 1] if i < h - 2 else z[-1]
        angles.append(torch.atan2(below, z[i]))
    printed = torch.zeros(h, h).double()
    for i in range(1, h + 1):
        for j in range(1, h + 1):
            if j <= i:
                sines = torch.stack([angles[k].sin() for k in range(1, j)]).prod() if j > 1 else 1.0
                printed[i - 1, j - 1] = z[i - 1] * angles[j - 1].cos() / sines
            elif j == i + 1:
                printed[i - 1, j - 1] = -r * angles[i].sin()
    assert_close(printed, rotation(z), rtol=1e-12, atol=1e-12)


def test_the_catalogue_is_a_list_and_a_table():
    text = repr(CATALOGUE)
    assert all(e.name in text for e in CATALOGUE) and "GL(3)^2" in text and "discrete" in text
    assert "<table>" in CATALOGUE._repr_html_()
    assert isinstance(CATALOGUE[:2], Catalogue) and len(CATALOGUE[:2]) == 2
    assert CATALOGUE[0] is CATALOGUE["Linear"]
    with pytest.raises(KeyError, match="no entry 'x'; there are Linear"):
        CATALOGUE["x"]


def test_the_page_shows_the_registry():
    page = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text()
    assert CATALOGUE.markdown() in page, "paste CATALOGUE.markdown() into docs/catalogue.md"
    # a cell that holds a bar would split in two
    assert {line.count("|") for line in CATALOGUE.markdown().splitlines()} == {9}
