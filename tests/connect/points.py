"""Networks with a planted group element, float64."""

import torch
from torch import nn

import isoloss
from isoloss.symmetry import named_tensors
from networks import Attention, Rotary, rotary_symmetries


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def sequential(*layers):
    return nn.Sequential(*layers).double().eval()


def relu():
    return sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), draw(7, 4)


def tanh():
    return sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), draw(7, 4)


def softmax():
    return sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), nn.Softmax(-1)), draw(7, 4)


def linear():
    return sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 6)), draw(7, 6)


def narrow_ends():
    """Only together are the matrices determined, and not uniquely."""
    return sequential(*(nn.Linear(i, o, bias=False) for i, o in ((4, 6), (6, 5), (5, 3)))), draw(7, 4)


def convolutional():
    layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten()
    return sequential(*layers, nn.Linear(5 * 16, 3)), draw(3, 2, 8, 8)


def rms_norm():
    return sequential(nn.Linear(4, 6, bias=False), nn.RMSNorm(6), nn.Linear(6, 3)), draw(7, 4)


def attention():
    return Attention().double(), draw(2, 5, 12)


def encoder():
    return nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0).double().eval(), draw(2, 5, 8)


def rotary():
    return Rotary().double(), draw(2, 5, 6)


NETWORKS = {
    f.__name__: f
    for f in (
        relu,
        tanh,
        softmax,
        linear,
        narrow_ends,
        convolutional,
        rms_norm,
        attention,
        encoder,
        rotary,
    )
}


def tensors(model):
    return {n: t.detach().clone() for n, t in named_tensors(model).items()}


def planted(name, scale=0.5):
    """A model, its symmetries, inputs, a point, an element and the moved point."""
    model, x = NETWORKS[name]()
    symmetries = rotary_symmetries(model) if name == "rotary" else isoloss.find(model, x)
    a = tensors(model)
    elements = [s.sample(scale, dtype=torch.float64) for s in symmetries]
    return model, symmetries, x, a, elements, a | symmetries.act(elements, a)


def run(model, point, x):
    return torch.func.functional_call(model, point, (x,))
