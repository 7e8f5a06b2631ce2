"""Small image files in the layout of Keras, with classes that a network can tell apart."""

import numpy as np


def write_images(folder, name, shape, *, train=400, test=120, classes=10):
    """Noise around one picture per class."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (classes, *shape))

    def draw(number):
        y = rng.integers(0, classes, number)
        x = 0.5 * centres[y] + 0.5 * rng.integers(0, 256, (number, *shape))
        return x.astype(np.uint8), y.astype(np.int64)

    x, y = draw(train)
    x_test, y_test = draw(test)
    np.savez(folder / f"{name}.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
