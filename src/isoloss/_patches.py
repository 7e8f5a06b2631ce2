"""A convolution as a matrix product: what its kernel sees at every place."""

from collections.abc import Sequence
from math import prod

from torch import Tensor
from torch.nn.functional import pad


def patches(
    x: Tensor, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The patches of a batch, in any number of dimensions.

    Args:
        x: Shape (batch, channels, *places).
        size: Of the kernel, one number per dimension, as all that follow.
        stride: From one patch to the next.
        padding: Zeros on either side.
        dilation: From one entry of a patch to the next.

    Returns:
        Shape (batch * places, channels * prod(size)).
    """
    dims = len(size)
    x = pad(x, [p for one in reversed(padding) for p in (one, one)])
    for d, (n, step, gap) in enumerate(zip(size, stride, dilation, strict=True)):
        x = x.unfold(2 + d, gap * (n - 1) + 1, step)[..., ::gap]
    # (batch, channels, *places, *size) -> (batch, *places, channels, *size)
    x = x.permute([0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims)])
    return x.reshape(prod(x.shape[: dims + 1]), -1)
