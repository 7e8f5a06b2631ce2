"""Moves that the network does not notice on its minibatch, and only there."""

from math import inf

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from isoloss.symmetry import Symmetries
from isoloss.teleport import SOLVERS, GradientNorm, NullSpaceProjection, Point, Teleport
from isoloss.teleport.solvers._null_space_projection import null_spaces
from networks import Attention, ConvNet, mlp
from teleport.solvers.solving import Any, point_of, solve, squared_norm, the_loss
from teleport.solvers.test_level_set_ascent import digits, flat

CNN = nn.Sequential(
    nn.Conv2d(3, 8, 5), nn.Tanh(), nn.Conv2d(8, 6, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 3)
)

NETWORKS = {
    "mlp": (lambda: mlp(20, 16, 12, 3), (5, 20)),
    "cnn": (lambda: CNN, (2, 3, 9, 9)),
    "batch norm": (ConvNet, (1, 4, 4, 4)),
    "attention": (lambda: Attention(24), (1, 6, 24)),
    "transformer": (lambda: nn.TransformerEncoderLayer(16, 2, 24, dropout=0.1, batch_first=True), (2, 3, 16)),
}


def network(name, training=True):
    make, shape = NETWORKS[name]
    model = make().double().train(training)
    x = torch.randn(shape).double()
    return model, x, point_of(model, x, torch.randn_like(model(x)).detach())


@pytest.mark.parametrize("radius", [0.1, 3.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays_on_the_batch_at_any_length_and_changes_elsewhere(name, radius):
    model, x, point = network(name)
    # BatchNorm's statistics and dropout's masks are those of training in the loss; outputs are compared without.
    model.eval() if name == "transformer" else model.train()
    found = solve(NullSpaceProjection(4), GradientNorm(), [], point, radius)
    assert found.after > found.before
    # Outputs stay to sqrt(n) eps of the inputs per layer, 1e-15, times the length of the move and of the chain.
    assert_close(point.loss(found.displaced), point.loss(point.tensors), rtol=1e-12, atol=0.0)
    other = torch.randn_like(x)
    if name != "transformer":
        outputs = [torch.func.functional_call(model, dict(w), (x,)) for w in (point.tensors, found.displaced)]
        assert_close(*outputs, rtol=1e-11, atol=1e-11)
    elsewhere = [
        torch.func.functional_call(model, dict(w), (other,)) for w in (point.tensors, found.displaced)
    ]
    assert (elsewhere[0] - elsewhere[1]).abs().max() > 1e-4


def test_it_is_gradient_ascent_projected_by_the_svd_of_the_inputs():
    """Literally, for an MLP: hooks take the inputs X of every layer, W += eta grad (1 - U U^T)."""
    model, x, point = network("mlp")
    inputs = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=f"{i}.weight": inputs.update({name: args[0].T}))
        for i, layer in enumerate(model)
        if isinstance(layer, nn.Linear)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    w = dict(point.tensors)
    for _ in range(3):
        slope = torch.func.grad(lambda t: squared_norm(point, t))(w)
        for name, matrix in inputs.items():
            u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
            u = u[:, s > 1e-8 * s[0]]
            w[name] = w[name] + 1e-2 * slope[name] @ (torch.eye(len(u)).double() - u @ u.T)
    found = solve(NullSpaceProjection(3, rate=1e-2), GradientNorm(), [], point, inf)
    # Accuracy of null vectors from a Gram matrix: eps cond^2, and these inputs have condition up to 1e2.
    assert_close(dict(found.displaced), {n: w[n] for n in found.displaced}, rtol=0.0, atol=1e-11)


def test_attention_moves_queries_keys_and_values():
    _, _, point = network("attention")
    spaces = null_spaces(point)
    assert spaces["inputs.weight"].dim == 72 * (24 - 6)
    assert spaces["outputs.weight"].dim == 24 * (24 - 6)


def test_directions_that_the_inputs_hardly_have_are_kept_unless_asked():
    """Inputs with a singular value of 1e-5: by default they count; with a tolerance they do not, and outputs move."""
    model = mlp(20, 16, 3).double()
    q, _ = torch.linalg.qr(torch.randn(20, 6).double())
    x = torch.randn(6, 6).double() * torch.tensor([1.0, 1.0, 1.0, 1.0, 1e-5, 1e-5]) @ q.T
    point = point_of(model, x, torch.randn(6, 3).double())
    assert null_spaces(point)["0.weight"].dim == 16 * 14
    assert null_spaces(point, 1e-3)["0.weight"].dim == 16 * 16
    w, any_way = point.tensors["0.weight"], torch.randn(16, 20).double()
    changes = [((null_spaces(point, t)["0.weight"].projected(any_way)) @ x.T).norm() for t in (None, 1e-3)]
    assert changes[0] < 1e-14 * w.norm() * x.norm() < 1e-6 < changes[1]


def test_under_autocast_the_loss_stays_to_the_rounding_of_its_dtype():
    model = mlp(20, 16, 3)
    x, y = torch.randn(5, 20), torch.randn(5, 3)

    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            return nn.functional.mse_loss(model(x).float(), y)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    closure().backward()
    before = closure().item()
    options = {"solver": NullSpaceProjection(3), "loss": closure, "radius": 0.2}
    jump = Teleport(optimizer, Symmetries((), model), schedule=lambda step: True, **options).step()
    assert jump.skipped is None and jump.after > jump.before
    # Weights are rounded to eps = 2^-7, a few hundred of them at random.
    assert closure().item() == pytest.approx(before, rel=4 * torch.finfo(torch.bfloat16).eps)


def test_radius_and_prediction():
    for lower in (False, True):
        _, _, point = network("mlp")
        found = solve(NullSpaceProjection(6), GradientNorm(lower=lower), [], point, 0.05)
        there = {**point.tensors, **found.displaced}
        moved = flat(there) - flat(point.tensors)
        assert 0.0 < moved.norm() <= 0.05 * flat(point.tensors).norm() * (1 + 1e-12)
        assert found.size == pytest.approx((moved.norm() / flat(point.tensors).norm()).item(), rel=1e-12)
        assert_close(found.after, squared_norm(point, there), rtol=1e-11, atol=0.0)
        assert bool(found.after < found.before) is lower


def test_where_the_examples_span_the_inputs_nothing_moves():
    model = mlp(5, 4, 3).double()
    point = point_of(model, torch.randn(50, 5).double(), torch.randn(50, 3).double())
    found = solve(NullSpaceProjection(), GradientNorm(), [], point)
    assert found.displaced is None and "no weight has directions" in found.skipped


def test_an_objective_that_is_constant_there_moves_nothing():
    _, _, point = network("mlp")
    found = solve(NullSpaceProjection(3), Any(the_loss), [], point)
    assert found.displaced is None and "changes the objective" in found.skipped


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.middle = nn.Embedding(12, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.middle(self.embedding(tokens)).tanh())


def test_a_tied_embedding_stays():
    model = Tied().double()
    tokens = torch.tensor([[1, 2, 3]])
    point = point_of(model, tokens, torch.randn(1, 3, 12).double())
    assert null_spaces(point).keys() == {"middle.weight"}


def test_in_training_on_digits_the_loss_stays_and_the_gradient_grows():
    x, y = digits()
    model = mlp(64, 48, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batch = slice(0, 20)

    def closure():
        return cross_entropy(model(x[batch]), y[batch])

    options = {"solver": NullSpaceProjection(5), "loss": closure, "measure": closure, "radius": 0.3}
    teleport = Teleport(
        optimizer,
        Symmetries((), model),
        schedule=lambda step: step in (5, 10),
        max_loss_change=1e-4,
        **options,
    )
    jumps, first = [], closure().item()
    for step in range(60):
        batch = slice(20 * step % 1600, 20 * step % 1600 + 20)
        optimizer.zero_grad()
        closure().backward()
        jumps += [teleport.step()]
        optimizer.step()
    made = [jump for jump in jumps if jump]
    for jump in made:
        assert jump.skipped is None
        assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-4)
        assert jump.measured_gradient_norm_after > 1.05 * jump.measured_gradient_norm_before
    assert len(made) == 2 and closure().item() < 0.5 * first


def test_it_says_what_it_needs():
    _, _, point = network("mlp")
    with pytest.raises(ValueError, match="must evaluate the loss at other parameters; got none"):
        solve(NullSpaceProjection(), GradientNorm(), [], Point(point.tensors, point.gradients, point.rates))
    for bad in ({"steps": 0}, {"tolerance": 1.0}, {"tolerance": -1.0}, {"tolerance": "tight"}, {"rate": 0.0}):
        with pytest.raises(ValueError, match=f"NullSpaceProjection: {next(iter(bad))} must be .*; got"):
            NullSpaceProjection(**bad)


def test_it_is_registered():
    assert SOLVERS["null-space-projection"] is NullSpaceProjection
