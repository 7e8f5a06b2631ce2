"""Members that act anew on every batch they meet, inside an activation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss.ensemble._draw import Draw
from isoloss.ensemble._tensors import with_tensors
from isoloss.symmetry import named_tensors


class Acting(nn.Module):
    r"""An activation with the data-dependent action wrapped around it.

    .. math:: \sigma'(H) = \pi(g, H)\,\sigma(gH), \qquad \pi(g, H) = \sigma(H)\,\sigma(gH)^+

    With samples as columns of H this is :math:`\sigma(H) P`, with P the projector on the rows of :math:`\sigma(gH)`. So
    a batch of at most as many samples as units passes unchanged, at full rank, and a larger one loses what P does not
    see: what a sample gives then depends on the others of its batch.

    Args:
        activation: The activation, pointwise.
        g: Matrix of its width, shape (h, h).

    References:
        Dissertation, Eq. (2.55).
    """

    g: Tensor

    def __init__(self, activation: nn.Module, g: Tensor):
        super().__init__()
        self.activation = activation
        self.register_buffer("g", g)

    def forward(self, h: Tensor) -> Tensor:
        """The activations of rows h, shape (*samples, units), for this batch."""
        if h.shape[-1] != len(self.g):
            raise ValueError(
                f"Acting: the last axis of what comes in must be that of g; got {tuple(h.shape)} and "
                f"g {tuple(self.g.shape)}; it takes the outputs of a linear layer."
            )
        rows = h.reshape(-1, h.shape[-1])
        before, after = self.activation(rows), self.activation(rows @ self.g.to(h.dtype).mT)
        return (after @ (torch.linalg.pinv(after) @ before)).reshape(h.shape)


@dataclass(frozen=True)
class WithinActivation:
    """Members that differ in the g of one activation only; the weights are those of the model.

    Attributes:
        name: Of the activation module, as in `model.named_modules()`, behind a linear layer.
        width: Number of its units.

    References:
        Dissertation, Eq. (2.55): how its section 2.9 implements the action.
    """

    name: str
    width: int

    @property
    def agree(self) -> bool:
        """Only on batches of at most `width` samples."""
        return False

    def members(
        self, model: nn.Module, n: int, draw: Draw
    ) -> tuple[nn.Module, Iterable[Mapping[str, Tensor]]]:
        """See `Source`.

        Raises:
            ValueError: If the model has no such module.
        """
        if not is_whole(self.width, 1):
            raise ValueError(f"WithinActivation: width must be a positive integer; got {self.width!r}.")
        template = with_tensors(model, {}, "orbit_ensemble")
        if not self.name or self.name not in dict(template.named_modules()):
            raise ValueError(
                f"WithinActivation: name must be that of an activation inside the model; got {self.name!r}; "
                "see model.named_modules()."
            )
        owner, _, last = self.name.rpartition(".")
        like = next((t for t in named_tensors(model).values() if t.is_floating_point()), torch.zeros(()))
        eye = torch.eye(self.width, dtype=like.dtype, device=like.device)
        acting = Acting(template.get_submodule(self.name), eye)
        setattr(template.get_submodule(owner), last, acting.train(model.training))
        return template, [{f"{self.name}.g": draw.matrix(self.width).to(like)} for _ in range(n)]
