"""The assignment problem: which row goes with which column."""

import torch
from torch import Tensor


def assignment(cost: Tensor) -> Tensor:
    """The permutation p of least total ``cost[i, p[i]]``, for a square matrix; int64 indices.

    The nearest column of every row is the answer if no two rows ask for the same one. Else the problem is solved in
    O(n^3) by scipy.

    Raises:
        ModuleNotFoundError: If scipy is needed and absent.
    """
    nearest = cost.argmin(-1)
    if len(nearest.unique()) == len(nearest):
        return nearest
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "find_group_element: neurons that look alike are matched by scipy, which is not installed; "
            "pip install 'isoloss[connect]'."
        ) from error
    finite = torch.nan_to_num(cost, nan=float(torch.finfo(cost.dtype).max) / 1e10)
    columns = linear_sum_assignment(finite.cpu().numpy())[1]
    return torch.as_tensor(columns, dtype=torch.int64, device=cost.device)
