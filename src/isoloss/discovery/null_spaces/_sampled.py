"""Samples from two functions that draw them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


class Sampled:
    """Draws parameters and data together, and checks that both are new and as many as asked for.

    Args:
        params: n -> tree of tensors (n, *shape).
        data: n -> likewise.
        where: Who asks, for messages.
    """

    def __init__(self, params: Callable[[int], Any], data: Callable[[int], Any], where: str):
        for word, sampler in (("sample_params", params), ("sample_data", data)):
            if not callable(sampler):
                raise ValueError(
                    f"{where}: {word} must be a function of the number of samples; got {type(sampler).__name__}; "
                    "pass lambda n: torch.randn(n, 3), say."
                )
        self._samplers = {"sample_params": params, "sample_data": data}
        self._where = where
        self._last: tuple[Any, Any] | None = None

    def __call__(self, n: int) -> tuple[Any, Any]:
        """So many samples of parameters and of data.

        Raises:
            ValueError: If a sampler fails, gives another number, or both give what they gave before.
        """
        drawn = self._drawn("sample_params", n), self._drawn("sample_data", n)
        if self._last is not None and _alike(drawn, self._last):
            raise ValueError(
                f"{self._where}: samples must be drawn anew at each call; got the same parameters and data again; "
                "seed a torch.Generator once, outside of the samplers."
            )
        self._last = drawn
        return drawn

    def _drawn(self, word: str, n: int) -> Any:
        try:
            drawn = self._samplers[word](n)
        except Exception as error:
            raise ValueError(
                f"{self._where}: {word}(n) must give n samples; got {type(error).__name__}: {error}, for n = {n}."
            ) from error
        for leaf in tree_leaves(drawn):
            if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) != n:
                raise ValueError(
                    f"{self._where}: {word}(n) must give n samples along the first axis; got shape "
                    f"{tuple(leaf.shape)} for n = {n}."
                )
        return drawn


def _alike(drawn: Any, before: Any) -> bool:
    """Do the first samples agree in every number?"""
    pairs = list(zip(tree_leaves(drawn), tree_leaves(before), strict=False))
    return all(isinstance(a, Tensor) and a.dim() and torch.equal(a[:1], b[:1]) for a, b in pairs)
