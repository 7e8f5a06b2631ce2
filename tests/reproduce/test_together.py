"""Networks trained together are what each would be alone."""

import torch
from torch.testing import assert_close

from isoloss.reproduce._network import Perceptron, outputs
from isoloss.reproduce._together import BLOCK, cross_entropy, descend_, hot, losses, stack

WIDTHS, MODELS, CLASSES = (12, 6, 5, 4), 7, 4


def batches(number=10, size=8):
    return [(torch.randn(size, WIDTHS[0]), torch.randint(0, CLASSES, (size,))) for _ in range(number)]


def test_cross_entropy_is_torchs():
    x, y = torch.randn(9, CLASSES, dtype=torch.float64) * 30, torch.randint(0, CLASSES, (9,))
    assert_close(cross_entropy(x, hot(y, CLASSES).double()), torch.nn.functional.cross_entropy(x, y))


def test_stack_holds_different_initializations():
    weights = stack(WIDTHS, MODELS, seed=3)
    assert [tuple(w.shape) for w in weights] == [(7, 6, 12), (7, 5, 6), (7, 4, 5)]
    alone = Perceptron(WIDTHS, torch.Generator().manual_seed(3 + 2)).weights
    assert all(torch.equal(w[2], a) for w, a in zip(weights, alone, strict=True))
    assert not torch.equal(weights[0][0], weights[0][1])


def test_together_is_one_after_another():
    # More than two blocks of steps; a batch of another size is recorded anew.
    data = batches(2 * BLOCK + 3)
    data[4] = data[-1] = (data[0][0][:3], data[0][1][:3])
    weights = stack(WIDTHS, MODELS, seed=0)
    descend_(weights, [(x, hot(y, CLASSES)) for x, y in data], cross_entropy, rate=0.1)
    for i in range(MODELS):
        model = Perceptron(WIDTHS, torch.Generator().manual_seed(i))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in data:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        for together, alone in zip(weights, model.weights, strict=True):
            # Float32, 23 steps of sums of at most 12 products: 23 * 12 * eps = 3e-5.
            assert_close(together[i], alone.detach(), rtol=3e-5, atol=3e-6)


def test_losses_are_those_of_each():
    weights = stack(WIDTHS, MODELS, seed=0)
    x, y = torch.randn(23, WIDTHS[0]), torch.randint(0, CLASSES, (23,))
    found = losses(weights, x, hot(y, CLASSES), cross_entropy, chunk=10)
    expected = [
        torch.nn.functional.cross_entropy(outputs([w[i] for w in weights], x), y) for i in range(MODELS)
    ]
    assert_close(found, torch.stack(expected))
