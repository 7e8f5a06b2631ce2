"""Tasks on images: every one has its own images, classes and labels."""

import pytest
import torch

from isoloss.learn.tasks import LogisticRegression
from isoloss.problems import load
from reproduce.images import write_images


def draw(n=4, seed=0, **changes):
    return LogisticRegression(**changes).draw(n, torch.Generator().manual_seed(seed))


def rows(pool, images):
    """Which image of the pool each is."""
    found = (images.flatten(0, 1).unsqueeze(1) == pool).all(-1)
    assert found.any(1).all()
    return found.double().argmax(1).view(images.shape[:2])


def test_images_are_those_of_the_training_set_with_their_labels():
    digits = load("digits")
    pool = digits.x.flatten(1).double()
    drawn = draw(samples=50)
    found = rows(pool, drawn.data["inputs"])
    assert drawn.data["inputs"].shape == (4, 50, 64) and drawn.data["inputs"].dtype == torch.float64
    assert torch.equal(drawn.data["targets"], digits.y[found])
    assert all(len(set(task.tolist())) == 50 for task in found)
    assert len({tuple(task.tolist()) for task in found}) == 4


def test_held_out_images_are_others():
    digits = load("digits")
    drawn = draw(samples=50, held_out=True)
    found = rows(digits.x_validation.flatten(1).double(), drawn.data["inputs"])
    assert torch.equal(drawn.data["targets"], digits.y_validation[found])


def test_every_task_has_its_own_classes():
    digits = load("digits")
    drawn = draw(n=12, samples=40, classes=2)
    found = digits.y[rows(digits.x.flatten(1).double(), drawn.data["inputs"])]
    pairs = []
    for labels, classes in zip(drawn.data["targets"], found, strict=True):
        told = dict(zip(labels.tolist(), classes.tolist(), strict=True))
        assert told.keys() == {0, 1} and all(told[int(a)] == b for a, b in zip(labels, classes, strict=True))
        pairs.append((told[0], told[1]))
    assert len(set(pairs)) > 6
    assert drawn.parameters["weight"].shape == (12, 2, 64)


def test_labels_are_permuted_on_request():
    digits = load("digits")
    drawn = draw(samples=100, relabel=True)
    found = digits.y[rows(digits.x.flatten(1).double(), drawn.data["inputs"])]
    orders = []
    for labels, classes in zip(drawn.data["targets"], found, strict=True):
        told = dict(zip(classes.tolist(), labels.tolist(), strict=True))
        assert len(set(told.values())) == len(told) == 10
        assert all(told[int(a)] == b for a, b in zip(classes, labels, strict=True))
        orders.append(tuple(told[c] for c in range(10)))
    assert len(set(orders)) == 4


def test_a_step_sees_a_batch():
    tasks = LogisticRegression(samples=50, batch=8)
    data = tasks.draw(3).data
    seen = tasks.minibatch(data, torch.Generator().manual_seed(0))
    assert seen["inputs"].shape == (3, 8, 64) and seen["targets"].shape == (3, 8)
    assert LogisticRegression(samples=50, batch=None).minibatch(data) is data


def test_mnist_lies_in_a_folder(tmp_path):
    write_images(tmp_path, "mnist", (6, 6))
    drawn = draw(images="mnist", folder=str(tmp_path), samples=30, dtype=torch.float32)
    assert drawn.data["inputs"].shape == (4, 30, 36) and drawn.data["inputs"].dtype == torch.float32
    assert drawn.parameters["weight"].shape == (4, 10, 36)
    assert drawn.parameters["weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "LogisticRegression: samples and batch must be at least 1; got 0 and 32"),
        ({"batch": 0}, "samples and batch must be at least 1; got 200 and 0"),
        ({"classes": 1}, "there must be at least 2 classes; got 1"),
        (
            {"classes": 11},
            r"enough images .*; got 200 samples from 11 classes of digits, which has 10 classes",
        ),
        ({"samples": 1439}, r"got 1439 samples from 10 classes of digits, .* 1438 images in the 10 smallest"),
        ({"images": "imagenet"}, "data must be digits, mnist or the path of an .npz file; got 'imagenet'"),
    ],
    ids=["samples", "batch", "one class", "eleven classes", "too many samples", "unknown images"],
)
def test_what_makes_no_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        draw(**changes)
