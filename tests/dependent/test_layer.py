import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.dependent import Layer

LAYERS = [
    (nn.Linear(5, 3), (4, 5)),
    (nn.Linear(5, 3, bias=False), (2, 4, 5)),
    (nn.Conv1d(2, 3, 3, padding=1, stride=2), (4, 2, 9)),
    (nn.Conv2d(2, 3, 3), (4, 2, 6, 7)),
    (nn.Conv2d(2, 3, (3, 2), padding=(1, 0), stride=2, dilation=2, bias=False), (4, 2, 9, 8)),
    (nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), (4, 2, 6, 6)),
    (nn.Conv2d(2, 3, 4, padding="same"), (4, 2, 6, 6)),
    (nn.Conv3d(2, 3, (3, 2, 1), padding=(1, 0, 1), stride=(2, 1, 1), dilation=(1, 2, 1)), (4, 2, 6, 5, 4)),
    (nn.Conv3d(2, 3, 3, padding="same", padding_mode="circular", bias=False), (4, 2, 4, 4, 4)),
    (nn.Linear(5, 3), (5,)),
    (nn.Conv1d(2, 3, 3), (2, 9)),
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 6, 7)),
    (nn.Conv3d(2, 3, 2), (2, 4, 3, 5)),
]


@pytest.mark.parametrize("module, shape", LAYERS, ids=lambda p: str(p))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_outputs_are_the_matrix_times_the_columns(module, shape):
    layer, x = Layer("layer", module.double()), torch.randn(shape).double()
    z = module(x)
    assert_close(layer.matrix @ layer.columns(x), layer.rows(z).detach())
    assert_close(layer.image(layer.rows(z), z.shape), z, rtol=0, atol=0)


@pytest.mark.parametrize("module, shape", LAYERS, ids=lambda p: str(p))
def test_a_matrix_goes_back_where_it_came_from(module, shape):
    layer = Layer("layer", module)
    matrix = torch.randn_like(layer.matrix)
    address = module.weight.data_ptr()
    layer.write_(matrix)
    assert_close(layer.matrix, matrix, rtol=0, atol=0)
    assert module.weight.data_ptr() == address


def test_what_suits():
    suits = [nn.Linear(1, 1), nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv3d(1, 1, 1)]
    others = [
        nn.Conv2d(2, 2, 1, groups=2),
        nn.ConvTranspose2d(1, 1, 1),
        nn.ReLU(),
        nn.Bilinear(1, 1, 1),
        None,
    ]
    assert [Layer.suits(m) for m in suits] == [True] * 4
    assert [Layer.suits(m) for m in others] == [False] * 5
