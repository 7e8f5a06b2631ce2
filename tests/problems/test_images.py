"""Images by name and by path, and what is said about those that cannot be used."""

import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch

from isoloss.problems import load


def keras(path, shape=(8, 8), **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (20, *shape), dtype=np.uint8),
        "y_train": rng.integers(0, 4, 20, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (6, *shape), dtype=np.uint8),
        "y_test": rng.integers(0, 4, 6, dtype=np.uint8),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def test_digits_are_normalized_split_and_always_the_same():
    data = load("digits")
    assert (
        data.x.shape == (1438, 1, 8, 8) and data.x_validation.shape == (359, 1, 8, 8) and data.classes == 10
    )
    torch.testing.assert_close(data.x.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.x.std(), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert data.fingerprint == load("digits").fingerprint
    assert data.fingerprint != load("digits", samples=100).fingerprint


def test_grey_images_get_one_channel(tmp_path):
    arrays = keras(tmp_path / "a.npz")
    data = load(str(tmp_path / "a.npz"), samples=10)
    x = torch.tensor(arrays["x_train"][:10]).float()
    torch.testing.assert_close(data.x[:, 0], (x - x.mean()) / x.std())
    assert data.y.tolist() == arrays["y_train"][:10].tolist() and len(data.y_validation) == 6


def test_colours_come_first_and_labels_may_be_a_column(tmp_path):
    arrays = keras(tmp_path / "a.npz", shape=(8, 6, 3), y_train=np.arange(20).reshape(20, 1))
    data = load(str(tmp_path / "a.npz"))
    assert data.shape == (3, 8, 6) and data.classes == 20
    image = torch.tensor(arrays["x_train"][0]).float()
    assert torch.corrcoef(torch.stack([data.x[0, 2].flatten(), image[..., 2].flatten()]))[0, 1] > 0.999


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"y_test": None},
            r"a.npz must be an .npz in the layout of Keras; got needs the arrays .*, has x_train",
        ),
        ({"x_train": np.zeros((20, 8))}, r"images must be .*; got images \(20, 8\), labels \(20,\)"),
        ({"y_train": np.zeros(3, dtype=int)}, r"one label each; got images \(20, 8, 8\), labels \(3,\)"),
        ({"y_train": np.zeros(20)}, "labels must be integers; got float64"),
    ],
    ids=["key missing", "not images", "too few labels", "labels not integers"],
)
def test_other_layouts_are_refused(tmp_path, changes, message):
    keras(tmp_path / "a.npz", **changes)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.npz"))


def test_files_that_are_no_archives_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(ValueError, match=r"a.npz must be an .npz in the layout of Keras; got \w"):
        load(str(tmp_path / "a.npz"))
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"b.npy must be an .npz"):
        load(str(tmp_path / "b.npy"))


def test_names_that_are_neither_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"data must be digits, mnist or the path of an .npz file; got 'imagenet'"
    ):
        load("imagenet")
    with pytest.raises(ValueError, match=r"got .*none.npz, which is no file"):
        load(str(tmp_path / "none.npz"))


def test_mnist_offline_says_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise URLError("no route\nto host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    with pytest.raises(
        OSError, match=r"failed \(URLError: .*no route to host.*\); go online, give the path .* --data"
    ):
        load("mnist")


def test_mnist_is_split_as_usual(monkeypatch):
    images, labels = np.zeros((70_000, 784)), np.full(70_000, "7", dtype=object)
    images[60_000:] = 1
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *_, **__: (images, labels))
    data = load("mnist", samples=5)
    assert data.x.shape == (5, 1, 28, 28) and data.y.tolist() == [7] * 5
    assert (data.x == 0).all() and (data.x_validation != 0).all()


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'isoloss\[demo\]'"):
        load("digits")
