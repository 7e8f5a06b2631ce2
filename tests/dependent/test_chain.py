import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, linear, relu
from torch.testing import assert_close

from dependent.nets import batch, closure, convolutional, perceptron
from isoloss.dependent import Chain, undisturbed
from isoloss.dependent._link import Measured, Pointwise


def chain_of(model, loss):
    with undisturbed(model) as run:
        return Chain.of(model, loss, run)


@pytest.mark.parametrize(
    "model", [perceptron(5, 7, 6, 3), convolutional()], ids=["perceptron", "convolutional"]
)
def test_the_stages_compute_what_the_model_does(model):
    loss = closure(model, 4)
    chain = chain_of(model, loss)
    x = chain.stages[0].columns
    for stage in chain.stages:
        assert_close(stage.columns, x)
        assert_close(stage.layer.matrix @ x, stage.rows)
        x = stage.link.value(stage.rows) if stage.link else x
    assert_close(chain.loss, loss().item())
    assert_close(chain.head.at(chain.stages[-1].rows)[0], loss().detach())


def test_the_head_is_differentiated_twice():
    model = nn.Sequential(*perceptron(5, 7, 3), nn.LogSoftmax(-1))
    x, y = batch(model, 4)
    chain = chain_of(model, lambda: nn.functional.nll_loss(model(x), y))
    z = torch.randn(3, 4).double()
    f = lambda z: cross_entropy(z.mT, y)  # noqa: E731
    loss, gradient, hessian = chain.head.at(z)
    tangent = torch.randn(3, 4).double()
    assert_close(loss, f(z))
    assert_close(gradient, torch.func.grad(f)(z))
    assert_close(hessian(tangent), torch.func.jvp(torch.func.grad(f), (z,), (tangent,))[1])
    assert "forward" not in model.__dict__


def test_a_linear_loss_has_no_hessian():
    model = perceptron(5, 7, 3)
    x, _ = batch(model, 4)
    chain = chain_of(model, lambda: model(x).sum())
    _, _, hessian = chain.head.at(torch.randn(3, 4).double())
    assert_close(hessian(torch.ones(3, 4).double()), torch.zeros(3, 4).double())


def test_known_activations_between_linear_layers_have_closed_forms():
    model = nn.Sequential(
        *perceptron(5, 7, 6, 3)[:2], nn.Dropout(0.5), *perceptron(7, 6, 3, activation=nn.GELU)
    )
    model.eval()
    x, y = batch(model, 4)
    links = [s.link for s in chain_of(model, lambda: cross_entropy(model(x), y)).stages]
    assert [type(link) for link in links] == [Pointwise, Measured, type(None)]


def test_nested_models_and_activations_in_place():
    inner = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(7, 6))
    model = nn.Sequential(nn.Linear(5, 7), inner, nn.Sequential(nn.Tanh(), nn.Linear(6, 3))).double()
    chain = chain_of(model, closure(model, 4))
    assert [s.layer.name for s in chain.stages] == ["0", "1.1", "2.1"]
    assert_close(chain.stages[0].layer.matrix @ chain.stages[0].columns, chain.stages[0].rows)


class Code(nn.Module):
    """Layers of 5 -> 5 -> 5 -> 3, and what a test makes of them."""

    def __init__(self, computed, **more):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        for name, module in more.items():
            setattr(self, name, module)
        self.computed = computed

    def forward(self, x):
        return self.computed(self, x)


def in_place(m, x):
    h = relu(m.first(x))
    y = m.second(h)
    y += h
    return m.last(y)


def masked(m, x):
    z = m.first(x)
    return m.last(m.second(relu(z)).tanh() * (z > 0))


def frozen(module):
    return module.requires_grad_(False)


NO_CHAINS = {
    "stream": (
        lambda m, x: m.last(m.second(h := relu(m.first(x))) + h),
        "last reads otherwise, after second",
    ),
    "stream in place": (in_place, "last reads otherwise, after second"),
    "stream around all": (lambda m, x: m.last(m.second(h := m.first(x))) + h[:, :3], "else beside last"),
    "branches": (lambda m, x: m.last(m.first(x) * m.second(x)), "second reads otherwise, after first"),
    "mask from below": (masked, "last reads otherwise, after second"),
    "twice": (lambda m, x: m.last(m.first(m.first(x)) + m.second(x)), "used once per run"),
    "tied": (lambda m, x: m.last(m.second(linear(m.first(x), m.first.weight))), "got first.weight outside"),
    "tied below": (
        lambda m, x: m.last(m.second(relu(m.first(x @ m.second.weight)))),
        "got second.weight out",
    ),
}


@pytest.mark.parametrize("computed, message", NO_CHAINS.values(), ids=NO_CHAINS)
def test_models_that_are_no_chain_are_refused(computed, message):
    model = Code(computed).double()
    with pytest.raises(ValueError, match=message):
        chain_of(model, closure(model, 4))


def test_trained_parameters_between_layers_are_refused_unless_they_are_frozen():
    scale = nn.Parameter(torch.ones(5).double())
    model = Code(lambda m, x: m.last(m.second(m.first(x)) * m.scale), scale=scale).double()
    with pytest.raises(ValueError, match="got scale outside of one"):
        chain_of(model, closure(model, 4))
    scale.requires_grad_(False)
    assert len(chain_of(model, closure(model, 4)).stages) == 3
    model = nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match="got PReLU"):
        chain_of(model, closure(model, 4))
    frozen(model[1])
    assert len(chain_of(model, closure(model, 4)).stages) == 2


def test_a_parameter_after_the_last_layer_is_refused():
    scale = nn.Parameter(torch.ones(3).double())
    model = Code(lambda m, x: m.last(m.second(m.first(x))) * m.scale, scale=scale).double()
    chain = chain_of(model, closure(model, 4))
    with pytest.raises(ValueError, match="also uses scale"):
        chain.head.at(chain.stages[-1].rows)


@pytest.mark.parametrize(
    "model, message",
    [
        (nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)), "got LayerNorm"),
        (nn.Sequential(nn.ReLU(), nn.PReLU()), "it ran none"),
    ],
    ids=["norm", "nothing"],
)
def test_what_is_no_chain_is_refused(model, message):
    x = torch.randn(4, 5).double()
    with pytest.raises(ValueError, match=message):
        chain_of(model.double(), lambda: model(x).sum())


CODE = {
    "functions": lambda m, x: m.last(relu(m.second(m.first(x).tanh()))),
    "in place": lambda m, x: m.last(relu(m.second(m.first(x).tanh_()), inplace=True)),
    "outside": lambda m, x: 2 * m.last(torch.stack([m.second(m.first(x / 2)), x]).sum(0)).log_softmax(-1),
    "by name": lambda m, x: m.last(input=m.second(input=m.first(input=x)).square()),
    "viewed": lambda m, x: m.last(m.second(m.first(x)).view(-1).view(4, 5)).view(-1, 3),
    "drawn": lambda m, x: m.last(dropout(m.second(m.first(x)), 0.5)),
    "a frozen module": lambda m, x: m.last(m.norm(m.second(m.first(x)))),
}


@pytest.mark.parametrize("computed", CODE.values(), ids=CODE)
def test_what_lies_between_layers_may_be_any_code(computed):
    model = Code(computed, norm=frozen(nn.LayerNorm(5))).double()
    loss = closure(model, 4)
    chain = chain_of(model, loss)
    x = chain.stages[0].columns
    for stage in chain.stages:
        assert_close(stage.columns, x)
        x = stage.link.value(stage.layer.matrix @ x) if stage.link else x
    assert_close(chain.head.at(chain.stages[-1].rows)[0].item(), chain.loss)
    assert not any("forward" in m.__dict__ for m in model.modules())


class View(nn.Module):
    def forward(self, x):
        return x.view(len(x), -1)


def test_modules_may_view_what_layers_return():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), View(), nn.Linear(144, 3), View()).double()
    chain = chain_of(model, closure(model, 4))
    assert_close(chain.stages[0].link.value(chain.stages[0].rows), chain.stages[1].columns)
    assert_close(chain.head.at(chain.stages[1].rows)[0].item(), chain.loss)


def test_a_loss_that_sees_weights_directly_is_refused():
    model = perceptron(5, 7, 3)
    x, _ = batch(model, 4)
    chain = chain_of(model, lambda: model(x).sum() + model[2].weight.square().sum())
    with pytest.raises(ValueError, match="also uses 2.weight"):
        chain.head.at(chain.stages[-1].rows)


def test_dropout_is_refused_in_training_and_passed_over_after():
    model = nn.Sequential(*perceptron(5, 7, 3)[:2], nn.Dropout(0.5), nn.Linear(7, 3)).double()
    with pytest.raises(ValueError, match="Dropout in training mode"):
        chain_of(model, closure(model, 4))
    assert len(chain_of(model.eval(), closure(model, 4)).stages) == 2


def test_half_precision_is_widened():
    model = perceptron(5, 7, 3).bfloat16()
    x, y = torch.randn(4, 5).bfloat16(), torch.randint(3, (4,))
    chain = chain_of(model, lambda: cross_entropy(model(x), y))
    assert {t.dtype for s in chain.stages for t in (s.columns, s.rows)} == {torch.float32}
    loss, gradient, _ = chain.head.at(chain.stages[-1].rows)
    assert loss.dtype == torch.bfloat16 and gradient.dtype == torch.float32


def test_the_loss_must_call_the_model_once():
    model = perceptron(5, 7, 3)
    x, _ = batch(model, 4)
    with pytest.raises(ValueError, match="exactly once; it did so 2 times"):
        chain_of(model, lambda: model(x).sum() + model(x).sum())
    with pytest.raises(ValueError, match="exactly once; it did so 0 times"):
        chain_of(model, lambda: x.sum())
    with pytest.raises(ValueError, match="a tensor with one number"):
        chain_of(model, lambda: model(x).sum().item())
