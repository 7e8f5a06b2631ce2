"""Actions that move parameters and data together: the data's part is kept, and applied to whatever comes in."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from isoloss._checks import is_whole
from isoloss.finding import find
from isoloss.symmetry import Symmetries


class MovedInputs(nn.Module):
    r"""A network behind a map of its inputs that teleports may change, together with the first layers.

    .. math:: L(g \cdot (w, X)) = L(w, X), \qquad g \cdot (W_1, X) = (W_1 g^{-1},\; g X)

    The map :math:`x \mapsto M x + t` starts as the identity. M and t are buffers, and the symmetries of this module
    move them like weights: so the data's part of every teleport is composed with those before, saved with the model,
    moved or rolled back with the parameters, and applied to the data of training and inference alike. Its group is
    what the readers of the inputs allow: all invertible matrices where only linear layers or convolutions read them,
    affine maps where these have biases and no padding, scalings or permutations elsewhere. Whitening and centering
    are among them.

    Args:
        model: Any module; its first positional input is moved.
        features: Size of the axis that is moved.
        dim: That axis: -1 for vectors, 1 for the channels of images.

    Raises:
        ValueError: If features is not positive.

    References:
        Zhao et al. (2022), Symmetry Teleportation, section 3; dissertation, section 4.3. Differs: there the map is
        composed beside the network; here it is part of it.
    """

    matrix: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, features: int, dim: int = -1):
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ValueError(
                f"MovedInputs: model must be a module; got {type(model).__name__}; pass the network."
            )
        if not is_whole(features, least=1):
            raise ValueError(f"MovedInputs: features must be positive; got {features!r}; it is x.shape[dim].")
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
        self.model, self.dim = model, dim
        self.register_buffer("matrix", torch.eye(features, dtype=like.dtype, device=like.device))
        self.register_buffer("shift", torch.zeros(features, dtype=like.dtype, device=like.device))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The network at the moved inputs."""
        return self.model(self.moved(x), *args, **kwargs)

    def moved(self, x: Tensor) -> Tensor:
        """The inputs that the network sees.

        Raises:
            ValueError: If the axis has another size.
        """
        if x.dim() == 0 or x.shape[self.dim] != len(self.shift):
            raise ValueError(
                f"MovedInputs: inputs must have {len(self.shift)} features along axis {self.dim}; "
                f"got shape {tuple(x.shape)}; say which axis moves, MovedInputs(model, features, dim)."
            )
        return linear(x.movedim(self.dim, -1), self.matrix, self.shift).movedim(-1, self.dim)

    def symmetries(self, example_inputs: Any, **options: Any) -> Symmetries:
        """Those of the network together with its inputs; see `isoloss.find`, which runs on a copy.

        Args:
            example_inputs: As for `find`.
            options: Of `find`.
        """
        twin = copy.deepcopy(self)
        for name in ("matrix", "shift"):
            buffer = twin._buffers.pop(name)
            assert buffer is not None
            twin.register_parameter(name, nn.Parameter(buffer))
        found = find(twin, example_inputs, **options)
        return found.bind(self)

    def about_inputs(self, symmetries: Symmetries) -> Symmetries:
        """Those among them that move the inputs."""
        return symmetries.where(lambda s: not {"matrix", "shift"}.isdisjoint(s.parameters))

    def extra_repr(self) -> str:
        """The axis that is moved."""
        return f"features={len(self.shift)}, dim={self.dim}"
