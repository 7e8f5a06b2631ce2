"""Find, move along and use the symmetries of network parameters.

Example:
    >>> import torch, isoloss
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> symmetries = isoloss.find(model, torch.randn(3, 4))
    >>> symmetries
    Symmetries(2 symmetries, continuous dimension 8)
    >>> symmetries.act_(symmetries.sample(scale=0.5))
"""

from isoloss import dependent, finding, flow, groups, landscape, problems, symmetry, teleport
from isoloss.finding import certificate, find
from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport import Teleport

__version__ = "0.1.0"
__all__ = [
    "Symmetries",
    "Symmetry",
    "Teleport",
    "certificate",
    "dependent",
    "find",
    "finding",
    "flow",
    "groups",
    "landscape",
    "problems",
    "symmetry",
    "teleport",
]
