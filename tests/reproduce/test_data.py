"""Image data: from the folder, whole or small, flattened and normalized, in batches that a seed decides."""

import torch

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
    assert missing(("mnist", "fashion_mnist"), str(tmp_path)) == {"fashion_mnist": "no network"}
