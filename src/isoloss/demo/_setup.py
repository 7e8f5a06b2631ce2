"""Everything that is settled before the first step of training: data, network, symmetries."""

import time
from dataclasses import dataclass

import torch
from torch import nn

from isoloss._figure import matplotlib
from isoloss._files import make_folder
from isoloss.demo._models import build
from isoloss.demo._settings import Settings
from isoloss.finding import find
from isoloss.problems import Data, load
from isoloss.symmetry import Symmetries


@dataclass(frozen=True)
class Setup:
    """What a demo works with.

    Attributes:
        settings: What was asked for.
        data: Images, on the device.
        model: The network that the symmetries were found in.
        symmetries: Found once; all runs share the architecture.
        seconds: What finding and verifying them took.
    """

    settings: Settings
    data: Data
    model: nn.Module
    symmetries: Symmetries
    seconds: float

    def fresh_model(self, seed: int) -> nn.Module:
        """The same architecture with the initialization of a seed, on the device."""
        s = self.settings
        return build(s.model, self.data.shape, self.data.classes, s.width, seed).to(s.device)


def prepare(settings: Settings) -> Setup:
    """Load the data, build the network and find its symmetries.

    Raises:
        ValueError: If the data or the device cannot be used.
        OSError: If the data cannot be downloaded, or the output folder cannot be made.
        ImportError: If an optional package is needed and absent.
    """
    matplotlib()
    data = load(settings.data, settings.samples).to(_device(settings.device))
    make_folder(settings.out, "demo")
    model = build(settings.model, data.shape, data.classes, settings.width, seed=0).to(settings.device)
    since = time.perf_counter()
    symmetries = find(model, data.x[:8])
    return Setup(settings, data, model, symmetries, time.perf_counter() - since)


def _device(name: str) -> torch.device:
    try:
        torch.zeros((), device=name).item()  # some devices are known, but hold no numbers
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"demo: device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(name)
