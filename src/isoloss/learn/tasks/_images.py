"""Classification of images: every task has its own images, classes and initial weights."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoloss._checks import is_whole
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.learn.tasks._count import check_count
from isoloss.learn.tasks._module import ModuleTasks
from isoloss.learn.tasks._tasks import Draw
from isoloss.problems import DATA_FOLDER, Data, load, where


@dataclass(frozen=True)
class ImageTasks(ABC):
    """Minimize the cross-entropy of a network on a small random set of images.

    Optimizees differ in their images, the classes these come from, the order of the labels, and the weights they
    start from, drawn as torch.nn.Linear draws them. The data are "inputs" (samples, pixels), normalized over the
    whole data set, and "targets" (samples,).

    Args:
        images: "digits" (part of scikit-learn, 8 x 8), "mnist" (mnist.npz in the folder, else downloaded), or the path
            of an .npz in the layout of Keras.
        folder: Where mnist.npz and the like may be, relative to the working directory.
        samples: Images of one task, none twice.
        batch: Images that one step sees, none twice; None for all.
        classes: How many classes a task has, drawn anew for each; None for all there are.
        relabel: Whether the labels of every task are permuted; they always are where there are fewer classes.
        held_out: Whether the images are those held out, which the tasks without it never see.
        dtype: Of images and weights.

    Raises:
        ValueError: If a number is less than 1, fewer than two classes are asked for, or the file has another layout.
        OSError: If the images must be downloaded and cannot be.
        ImportError: If scikit-learn is needed and absent.
    """

    name: ClassVar[str]
    images: str = "digits"
    folder: str = DATA_FOLDER
    samples: int = 200
    batch: int | None = 32
    classes: int | None = None
    relabel: bool = False
    held_out: bool = False
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        where = type(self).__name__
        if not is_whole(self.samples, least=1) or not (self.batch is None or is_whole(self.batch, least=1)):
            raise ValueError(
                f"{where}: samples and batch must be at least 1; got {self.samples!r} and {self.batch!r}. "
                "Pass batch = None for all samples."
            )
        if self.classes is not None and not is_whole(self.classes, least=2):
            raise ValueError(
                f"{where}: there must be at least 2 classes; got {self.classes!r}. Pass None for all there are."
            )

    @abstractmethod
    def network(self, pixels: int, classes: int) -> nn.Module:
        """From images (samples, pixels) to logits (samples, classes); its weights belong to layers nn.Linear."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """What may teleport the network."""
        return ()

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Draw n tasks.

        Raises:
            ValueError: If n is less than 1, or there are not so many images or classes.
        """
        check_count(type(self).__name__, n)
        return self._tasks.draw(n, generator)

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        """`batch` images of every task, none twice."""
        return self._tasks.minibatch(data, generator)

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        """The mean cross-entropy of one task, in nats."""
        return self._tasks.loss(parameters, data)

    @cached_property
    def _pool(self) -> tuple[Tensor, Tensor]:
        """All images (N, pixels) and labels (N,) that tasks choose from."""
        data = _loaded(where(self.images, self.folder))
        x, y = (data.x_validation, data.y_validation) if self.held_out else (data.x, data.y)
        _, y = y.unique(return_inverse=True)
        return x.flatten(1).to(self.dtype), y

    @cached_property
    def _tasks(self) -> ModuleTasks:
        x, y = self._pool
        counts = y.bincount().sort().values
        classes = self.classes or len(counts)
        if classes > len(counts) or self.samples > counts[:classes].sum():
            raise ValueError(
                f"{type(self).__name__}.draw: there must be enough images in the classes of every task; got "
                f"{self.samples} samples from {classes} classes of {self.images}, which has {len(counts)} classes and "
                f"{int(counts[:classes].sum())} images in the {classes} smallest. Ask for fewer."
            )
        with torch.random.fork_rng(devices=[]):  # whose weights are never used
            network = self.network(x.shape[1], classes).to(self.dtype)
        return ModuleTasks(
            network,
            cross_entropy,
            self._sample,
            lambda n, generator: _as_linear(network, n, generator),
            batch=self.batch,
        )

    def _sample(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        x, y = self._pool
        known = int(y.max()) + 1
        classes = self.classes or known
        label = torch.arange(known).repeat(n, 1)
        if self.relabel or classes < known:
            label = torch.rand(n, known, generator=generator).argsort(1)
        given = label[:, y]
        # In random order, those of other classes last.
        keys = torch.rand(n, len(y), generator=generator) + (given >= classes)
        order = keys.topk(self.samples, largest=False).indices
        return x[order], given.gather(1, order)


@lru_cache(maxsize=2)
def _loaded(name: str) -> Data:
    return load(name, samples=60_000)


def _as_linear(network: nn.Module, n: int, generator: torch.Generator | None) -> Tensors:
    r"""Weights of n networks as nn.Linear draws them: weights and biases uniform up to :math:`1/\sqrt{inputs}`."""
    drawn = {}
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            for kind, p in layer.named_parameters(path):
                unit = 2 * torch.rand(n, *p.shape, generator=generator, dtype=p.dtype) - 1
                drawn[kind] = unit * layer.in_features**-0.5
    return drawn
