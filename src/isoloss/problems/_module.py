"""A test problem as a module, for optimizers and teleports that want one."""

import torch
from torch import Tensor, nn

from isoloss.problems._problem import Problem


class ProblemModule(nn.Module):
    """A module whose parameter ``w`` is a point and whose output is the value there.

    Every optimizer and every teleport that needs no symmetry of the module runs on it, with the module itself as
    the closure.

    Example:
        >>> import torch
        >>> from isoloss.problems import Booth, ProblemModule
        >>> module = ProblemModule(Booth(), torch.tensor([5.0, -5.0]))
        >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.08)
        >>> module().backward(); optimizer.step()
        >>> module.w.data
        tensor([ 6.9200, -1.1600])

    Args:
        problem: The function.
        start: The point to begin at; copied.
    """

    def __init__(self, problem: Problem, start: Tensor) -> None:
        super().__init__()
        self.problem = problem
        self.w = nn.Parameter(torch.as_tensor(start).clone())

    def forward(self) -> Tensor:
        """The value here, summed over a batch of points."""
        return self.problem(self.w).sum()
