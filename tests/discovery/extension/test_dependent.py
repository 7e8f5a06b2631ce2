"""A data-dependent symmetry of a part, on what the part reads while the whole runs on X."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp, vmap
from torch.testing import assert_close

from discovery.extension.models import Between, Unseen, unseen
from isoloss.discovery._symmetry import DiscoveredSymmetry
from isoloss.discovery.extension import ExtendedSymmetry, extend
from isoloss.groups import Translation
from isoloss.symmetry import Symmetries, named_tensors


@pytest.fixture
def whole():
    model = Between().double()
    x = torch.randn(3, 4, dtype=torch.float64)
    small = unseen()
    return model, x, small, extend(small, into=model, at="f", inputs=x)


def features(model: Between, x: torch.Tensor, tensors=None) -> torch.Tensor:
    """h(theta_1, X) by hand."""
    t = dict(model.named_parameters()) if tensors is None else tensors
    return (x @ t["before.weight"].mT + t["before.bias"]).tanh()


def test_it_is_the_action_of_the_part_on_what_the_part_reads(whole):
    r"""a'_X(g, (theta_1, theta_2)) = (theta_1, a_{h(theta_1, X)}(g, theta_2)), literally."""
    model, x, small, symmetry = whole
    g = symmetry.sample(dtype=torch.float64)
    literal = small.at(features(model, x)).act(g, {"weight": model.f.weight})
    assert_close(symmetry.act(g, named_tensors(model)), {"f.weight": literal["weight"]}, rtol=0, atol=0)
    assert symmetry.parameters == ("f.weight",)
    assert symmetry.reads == ("before.weight", "before.bias")


def test_the_outputs_stay_on_the_batch_and_move_on_others(whole):
    model, x, _, symmetry = whole
    others = torch.randn(9, 4, dtype=torch.float64)
    found = Symmetries([symmetry], model)
    with torch.no_grad():
        y, away = model(x), model(others)
        found.act_(found.sample())
        # Exact but for the rounding of a pseudo-inverse and 64 additions.
        assert_close(model(x), y, rtol=1e-12, atol=1e-12)
        assert float((model(others) - away).abs().max()) > 1e-3


def test_identity_and_composition_are_those_of_the_part(whole):
    """The fields of the part commute, on the same data; so do those of the whole, with the same data at g theta."""
    model, _, _, symmetry = whole
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}
    g, h = symmetry.sample(dtype=torch.float64), symmetry.sample(dtype=torch.float64)
    one = tensors | symmetry.act(h, tensors)
    assert_close(symmetry.act(g, one), symmetry.act(g + h, tensors), rtol=1e-12, atol=1e-12)
    assert_close(symmetry.act(0 * g, tensors)["f.weight"], tensors["f.weight"], rtol=0, atol=0)


def test_another_batch_moves_it_differently(whole):
    model, _, _, symmetry = whole
    other = torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        y = model(other)
        there = symmetry.at(other)
        moved = there.act(there.sample(dtype=torch.float64), named_tensors(model))
        assert_close(functional_call(model, moved, (other,)), y, rtol=1e-12, atol=1e-12)
    assert type(there) is ExtendedSymmetry and there.error is None


def test_it_sees_the_parameters_in_front_where_they_are_now(whole):
    """theta_1 moves, and with it h(theta_1, X): the symmetry is that of the new point."""
    model, x, _, symmetry = whole
    tensors = {n: t.detach() + 0.3 * torch.randn_like(t) for n, t in named_tensors(model).items()}
    moved = tensors | symmetry.act(symmetry.sample(dtype=torch.float64), tensors)
    assert_close(
        functional_call(model, moved, (x,)), functional_call(model, tensors, (x,)), rtol=1e-12, atol=1e-12
    )


def test_the_generator_is_the_derivative_of_the_action(whole):
    model, _, _, symmetry = whole
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}
    a = symmetry.sample(dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    _, velocity = jvp(lambda t: symmetry.act(t * a, tensors)["f.weight"], (zero,), (zero + 1,))
    assert_close(velocity, symmetry.generator(a, tensors)["f.weight"])


def test_gradients_pass_through_what_the_part_reads(whole):
    """The derivative in theta_1 of a'_X, by autograd through the capture and by hand."""
    model, x, small, symmetry = whole
    tensors = {n: t.detach().requires_grad_() for n, t in named_tensors(model).items()}
    g = symmetry.sample(dtype=torch.float64)
    captured = symmetry.act(g, tensors)["f.weight"].square().sum()
    literal = small.at(features(model, x, tensors)).act(g, {"weight": tensors["f.weight"]})["weight"]
    names = ["before.weight", "before.bias", "f.weight"]
    got = torch.autograd.grad(captured, [tensors[n] for n in names])
    expected = torch.autograd.grad(literal.square().sum(), [tensors[n] for n in names])
    assert_close(got, expected)
    assert float(got[0].abs().max()) > 1e-3


def test_transported_gradients_are_those_of_the_moved_point(whole):
    model, x, _, symmetry = whole
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}

    def gradients(at):
        leaves = {n: t.detach().requires_grad_() for n, t in at.items()}
        loss = functional_call(model, leaves, (x,)).square().sum()
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    g = symmetry.sample(dtype=torch.float64)
    here = gradients(tensors)
    there = gradients(tensors | symmetry.act(g, tensors))
    carried = here | symmetry.transport(g, here, tensors)
    assert_close(carried, there)
    assert float((there["before.weight"] - here["before.weight"]).abs().max()) > 1e-3


def test_many_elements_at_once(whole):
    model, _, _, symmetry = whole
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}
    some = torch.randn(4, 2, dtype=torch.float64)
    one_by_one = torch.stack([symmetry.act(g, tensors)["f.weight"] for g in some])
    assert_close(vmap(lambda g: symmetry.act(g, tensors)["f.weight"])(some), one_by_one)


def test_the_part_in_front_runs_once_for_a_whole_curve(whole):
    model, _, _, symmetry = whole
    runs = []
    handle = model.before.register_forward_hook(lambda *_: runs.append(1))
    symmetry.act(symmetry.sample(), named_tensors(model))
    handle.remove()
    assert len(runs) == 1


def test_it_works_in_the_dtype_of_the_model(whole):
    _, x, small, _ = whole
    model = Between()
    symmetry = extend(small, into=model, at="f", inputs=x.float())
    y = model(x.float())
    found = Symmetries([symmetry], model)
    found.act_(found.sample())
    assert model.f.weight.dtype == torch.float32
    # Some 100 float32 roundings.
    assert_close(model(x.float()), y, rtol=1e-5, atol=1e-5)


def test_elements_are_known_again_after_the_model_has_moved(whole, tmp_path):
    model, _, _, symmetry = whole
    found = Symmetries([symmetry], model)
    elements = found.sample()
    found.save(elements, tmp_path / "g.safetensors")
    found.act_(elements)
    assert_close(found.load(tmp_path / "g.safetensors"), elements, rtol=0, atol=0)


def test_first_units_of_a_wide_layer():
    """Cor. 6.4.2: the narrow network reads X itself, and its units are rows of a wider one."""
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 9, bias=False), nn.Tanh(), nn.Linear(9, 2))
    model, x = model.double(), torch.randn(3, 4, dtype=torch.float64)
    symmetry = extend(unseen(), into=model, at={"weight": ("2.weight", slice(2, 8))}, inputs=x, data_at="2")
    tensors = named_tensors(model)
    with torch.no_grad():
        moved = symmetry.act(symmetry.sample(dtype=torch.float64), tensors)
        assert_close(functional_call(model, moved, (x,)), model(x), rtol=1e-12, atol=1e-12)
    stays = (moved["2.weight"] == tensors["2.weight"]).all(1).tolist()
    assert stays == [True, True, *[False] * 6, True]


def test_data_in_a_form_of_its_own():
    """A symmetry whose data are a dict, of which the submodule reads the parts as two arguments."""

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6))

        def forward(self, x, scale):
            return scale * (x @ self.weight.mT)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.f = nn.Linear(4, 6), Pair()

        def forward(self, x, scale):
            return self.f(self.before(x), scale=scale).tanh()

    base, model = unseen(), Whole().double()
    small = replace(base, field=lambda c, p, data: base.field(c, p, data["x"]), data={"x": base.data})
    x, scale = torch.randn(3, 4, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    with pytest.raises(ValueError, match="positional, or keywords; got 1 and scale; pass as_data"):
        extend(small, into=model, at="f", inputs=(x, scale))
    symmetry = extend(small, into=model, at="f", inputs=(x, scale), as_data=lambda x, scale: {"x": x})
    assert symmetry.error < 1e-12


def test_a_field_that_needs_no_data_may_serve_a_part_that_runs_twice():
    """A rescaling of two scalars in a row, through the saturation between the runs or not."""
    model = Between(times=2).double()
    with pytest.raises(ValueError, match="runs once in a pass; got 2 calls of f"):
        extend(unseen(), into=model, at="f", inputs=torch.randn(3, 4))

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Parameter(torch.randn(())), nn.Parameter(torch.randn(()))

        def forward(self, x):
            return self.two * (self.one * x)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = Product()

        def forward(self, x):
            return self.f(self.f(x).tanh())

    rescaling = DiscoveredSymmetry(
        group=Translation(1),
        field=lambda c, p, data: {"one": c[0] * p["one"], "two": -c[0] * p["two"]},
        names=("one", "two"),
        error=1e-6,  # of 16 steps of the integrator
    )
    symmetry = extend(rescaling, into=Twice().double(), at="f", inputs=torch.randn(3, dtype=torch.float64))
    assert symmetry.data is None and symmetry.parameters == ("f.one", "f.two") and symmetry.reads == ()


def test_its_own_error_is_what_it_is_held_to():
    model, x = Between().double(), torch.randn(3, 4, dtype=torch.float64)
    rough = replace(unseen(), field=Rough(unseen().field.directions), error=None)
    with pytest.raises(ValueError, match="an approximate symmetry must state its error; got None"):
        extend(rough, into=model, at="f", inputs=x)
    with pytest.raises(ValueError, match="changed by .*, where its own error of 1e-09 allows 1e-08"):
        extend(rough, into=model, at="f", inputs=x, tolerance=1e-9)
    accepted = extend(replace(rough, error=1e-2), into=model, at="f", inputs=x)
    assert 1e-5 < accepted.error < 1e-1


class Rough(Unseen):
    """Off the level set by a thousandth."""

    def __call__(self, c, params, data):
        exact = super().__call__(c, params, data)["weight"]
        return {"weight": exact + 1e-3 * c.sum() * params["weight"]}


def test_too_many_points_for_its_shapes_leave_nothing_to_move():
    """With as many points as dimensions nothing is unseen: the flow stands still, and that is said."""
    with pytest.raises(ValueError, match="an element must move the parameters; got f.weight"):
        extend(unseen(), into=Between().double(), at="f", inputs=torch.randn(40, 4))


def test_a_place_of_another_shape_is_refused():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 9, bias=False)).double()
    with pytest.raises(
        ValueError, match=r"the shape that the symmetry was found for; got \(9, 6\) in 2.weight"
    ):
        extend(unseen(), into=model, at="2", inputs=torch.randn(3, 4))


def test_data_that_depend_on_what_moves_are_refused():
    """The data are taken behind the layer that moves: h would depend on theta_2."""
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 2)).double()
    with pytest.raises(
        ValueError, match="must not depend on what it moves; got inputs of 2 that depend on 0.weight"
    ):
        extend(unseen(), into=model, at="0", inputs=torch.randn(3, 6), data_at="2")


def test_a_second_use_of_the_weight_is_refused_as_for_exact_symmetries():
    class Penalized(Between):
        def forward(self, x):
            return super().forward(x) + self.f.weight.square().mean()

    with pytest.raises(ValueError, match="only through f; got f.weight, read elsewhere"):
        extend(unseen(), into=Penalized().double(), at="f", inputs=torch.randn(3, 4))
    # Where there is no module to hold the outputs of, the numbers show it.
    with pytest.raises(ValueError, match="of the subnetwork must leave .*own error of 1e-12 allows 1e-10"):
        extend(
            unseen(),
            into=Penalized().double(),
            at={"weight": "f.weight"},
            inputs=torch.randn(3, 4),
            data_at="f",
        )
