"""Image data: from the folder, whole or small, flattened and normalized, in batches that a seed decides."""

import json
import sys

import numpy as np
import pytest
import torch

from isoloss.reproduce import EXPERIMENTS, reproduce
from isoloss.reproduce._data import batches, fingerprint, images, missing, where
from reproduce.images import write_images


def test_small_file_serves_where_the_whole_is_absent(tmp_path):
    write_images(tmp_path, "cifar10_small", (4, 4, 3))
    assert where("cifar10", tmp_path).endswith("cifar10_small.npz") and where("mnist", tmp_path) == "mnist"
    write_images(tmp_path, "cifar10", (4, 4, 3))
    assert where("cifar10", tmp_path).endswith("cifar10.npz")


def test_images_are_flat_and_as_many_as_asked(tmp_path):
    write_images(tmp_path, "cifar10", (4, 4, 3))
    data = images("cifar10", str(tmp_path), 50, 20)
    assert data.x.shape == (50, 48) and data.x_validation.shape == (20, 48)
    assert data.y.shape == (50,) and data.classes == 10
    assert data.x.mean().abs() < 0.05 and abs(data.x.std() - 1) < 0.05


def test_batches_are_decided_by_the_generator(tmp_path):
    write_images(tmp_path, "mnist", (6, 6))
    data = images("mnist", str(tmp_path), 50, 20)
    first, again, other = (batches(data, 8, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert len(first) == 6 and first[0][0].shape == (8, 36)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_fingerprint_is_that_of_the_content(tmp_path):
    write_images(tmp_path, "mnist", (6, 6))
    before = fingerprint(("mnist", "cifar10"), str(tmp_path))
    assert before["cifar10"] == "cifar10" and len(before["mnist"]) == 16
    (tmp_path / "other").mkdir()
    write_images(tmp_path / "other", "mnist", (6, 6), train=401)
    assert fingerprint(("mnist",), str(tmp_path / "other"))["mnist"] != before["mnist"]


def test_what_cannot_be_had_is_told(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no\nnetwork")

    write_images(tmp_path, "mnist", (6, 6))
    monkeypatch.setattr("isoloss.reproduce._data.load", offline)
    images.cache_clear()
    told = missing(("mnist", "fashion_mnist"), str(tmp_path))
    assert told.keys() == {"fashion_mnist"} and told["fashion_mnist"].startswith("no network")
    assert f"No fashion_mnist.npz lies in {tmp_path}" in told["fashion_mnist"]


@pytest.fixture
def fresh():
    images.cache_clear()
    yield
    images.cache_clear()


FASHION = {
    "datasets": ("fashion_mnist",),
    "models": 4,
    "epochs": 1,
    "samples": 60,
    "held_out": 20,
    "hidden": (6, 5),
    "directions": 1,
    "displacements": 1,
    "sharpness_samples": 20,
    "curvature_samples": 4,
}


def minima(folder, out):
    changes = FASHION | {"data": str(folder)}
    (outcome,) = reproduce([EXPERIMENTS["minima"]], out, changes=changes, jobs=1)
    return outcome


def test_fashion_mnist_from_a_file_in_the_layout_of_keras(fresh, tmp_path):
    write_images(tmp_path, "fashion_mnist", (28, 28))
    assert minima(tmp_path, tmp_path / "out").reason is None
    told = json.loads((tmp_path / "out" / "minima" / "results.json").read_text())["results"]
    assert told["datasets"].keys() == {"fashion_mnist"} and not told["absent"]
    assert len(told["datasets"]["fashion_mnist"]["models"]["phi"]) == 4


def test_fashion_mnist_is_downloaded_through_scikit_learn(fresh, tmp_path, monkeypatch):
    asked = []

    def fetch_openml(name, **options):
        asked.append((name, options["version"], options["return_X_y"], options["as_frame"]))
        rng = np.random.default_rng(0)
        x = rng.integers(0, 256, (60_100, 784), dtype=np.uint8)
        return x, rng.integers(0, 10, 60_100).astype(str).astype(object)  # OpenML's labels are texts

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    data = images("fashion_mnist", str(tmp_path), 50, 20)
    assert asked == [("Fashion-MNIST", 1, True, False)]
    assert data.x.shape == (50, 784) and data.x_validation.shape == (20, 784) and data.classes == 10
    assert minima(tmp_path, tmp_path / "out").reason is None


def test_download_without_scikit_learn_names_the_extra(fresh, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    outcome = minima(tmp_path, tmp_path / "out")
    assert outcome.verdict == "not run"
    assert "scikit-learn" in outcome.reason and "pip install 'isoloss[reproduce]'" in outcome.reason
