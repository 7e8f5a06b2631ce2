"""Samples of parameters and data, seeded, checked, and as vectors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isoloss._checks import takes
from isoloss.discovery._space import Space

Sample = Callable[[int], Any]
"""From n to a tree of tensors (n, *shape), drawn with torch's global generator."""

LEAST = torch.float32
"""Parameters of lower precision are widened to it, for solving and singular values need it."""


class Sampler:
    """Draws parameters with their data.

    Args:
        sample_params: Of the parameters.
        sample_data: Of the data.
        where: Who asks, for messages.

    Attributes:
        params: The space of the parameters.
        data: That of the data, in which whole numbers are welcome.
        dtype: Of the samples, that of the parameters.

    Raises:
        ValueError: If one is no function of n, or returns no tensors (n, *shape).
    """

    def __init__(self, sample_params: Sample, sample_data: Sample, where: str):
        self._where = where
        self._draws = {"sample_params": sample_params, "sample_data": sample_data}
        for name, draw in self._draws.items():
            if not callable(draw) or not takes(draw, 1):
                raise ValueError(
                    f"{where}: {name} must be a function of the number of samples; got {draw!r}; "
                    "write lambda n: torch.randn(n, 3), say."
                )
        with seeded(0):
            trees = {name: draw(2) for name, draw in self._draws.items()}
        self.params = Space.of(trees["sample_params"], f"{where}: sample_params")
        self.data = Space.of(trees["sample_data"], f"{where}: sample_data", whole=True)
        self.dtype = self(2, 0)[0].dtype

    def __call__(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Parameters (n, p) and data (n, q); the same ones for the same seed.

        Raises:
            ValueError: If shapes are others than before, their number is not n, or a value is not finite.
        """
        with seeded(seed):
            drawn = [
                space.flat(draw(n)).detach()
                for space, draw in zip((self.params, self.data), self._draws.values(), strict=True)
            ]
        for name, flat in zip(self._draws, drawn, strict=True):
            if len(flat) != n:
                raise ValueError(
                    f"{self._where}: {name}(n) must return n samples along the first axis of each tensor; got "
                    f"{len(flat)} for n = {n}."
                )
            if not bool(flat.isfinite().all()):
                raise ValueError(
                    f"{self._where}: samples must be finite; got nan or inf from {name}; look for divisions and "
                    "logarithms in it."
                )
        theta, x = drawn
        theta = theta.to(torch.promote_types(theta.dtype, LEAST))
        return theta, x.to(theta)


class seeded:  # noqa: N801 (a context manager, used as a verb)
    """Within it torch's global generator starts from a seed; afterwards it is as it was."""

    def __init__(self, seed: int):
        self._seed, self._fork = seed, torch.random.fork_rng(devices=[])

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *reason: Any) -> None:
        self._fork.__exit__(*reason)


def normal(**shapes: tuple[int, ...]) -> Sample:
    """A sampler of standard normal tensors by name: ``normal(w=(3, 3), b=(3,))``."""
    return lambda n: {name: torch.randn(n, *shape) for name, shape in shapes.items()}
