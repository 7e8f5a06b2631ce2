"""The conserved quantities of a model while it trains, for any logger."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isoloss._checks import is_whole
from isoloss.flow._field import Rates
from isoloss.flow._quantities import conserved_quantities
from isoloss.symmetry import Symmetries


class Monitor:
    r"""Watches how training moves what gradient flow would keep.

    >>> import torch, isoloss
    >>> from isoloss import flow
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> monitor = flow.Monitor(optimizer, isoloss.find(model, torch.randn(3, 4)))
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     model(torch.randn(3, 4)).square().mean().backward()
    ...     optimizer.step()
    ...     numbers = monitor.step()
    >>> sorted(numbers)
    ['conserved/R+^8 between 0.weight and 2.weight/drift',
     'conserved/R+^8 between 0.weight and 2.weight/norm', 'conserved/drift']

    It reads the weights once per record and waits for the device once. Under plain gradient descent the drift is of
    first order in the learning rate; weight decay makes the quantities themselves decay; momentum and Adam conserve
    something else or nothing, and the drift says how much.

    Args:
        of: The optimizer, whose parameters are trained, with learning rates relative to those of the largest group;
            or the model, of which those parameters are that require gradients.
        symmetries: As found in the model. Those that move what is not trained are left out.
        every: Record every so many steps.

    Raises:
        TypeError: If `of` is neither.
        ValueError: If there is no conserved quantity, or an argument is not as described.
    """

    def __init__(self, of: nn.Module | Optimizer, symmetries: Symmetries, *, every: int = 1):
        if not is_whole(every, least=1):
            raise ValueError(f"Monitor: every must be a whole number of at least 1; got {every!r}.")
        if isinstance(of, nn.Module):
            symmetries, rates = symmetries.bind(of), None
        elif isinstance(of, Optimizer):
            symmetries, rates = _trained(of, symmetries)
        else:
            raise TypeError(
                f"Monitor: must watch a module or an optimizer; got {type(of).__name__}; pass one of the two."
            )
        self.quantities = conserved_quantities(symmetries, rates=rates)
        named = dict(symmetries.model.named_parameters())
        self._tensors: dict[str, Tensor] = {n: named[n] for n in self.quantities.parameters}
        self.every = int(every)
        self.steps = 0
        measured = self.quantities.measured(self._tensors)
        self._start = {n: value.clone() for n, (value, _) in measured.items()}
        self._sizes = {n: float(size) for n, (_, size) in measured.items()}

    @torch.no_grad()
    def step(self) -> dict[str, float]:
        """Call it after each step of the optimizer.

        Returns:
            For every quantity its norm and its drift since the start, relative to the sum of squares that it was made
            of then (absolute if that was zero), and the largest drift as "conserved/drift"; nothing if this step is not
            recorded.
        """
        self.steps += 1
        return {} if self.steps % self.every else self.record()

    @torch.no_grad()
    def record(self) -> dict[str, float]:
        """The same numbers now, without counting a step."""
        values = self.quantities.evaluate(self._tensors)
        device = next(iter(values.values())).device
        norms = [v.norm() for v in values.values()]
        norms += [(v - self._start[n].to(v)).norm() for n, v in values.items()]
        found = torch.stack([x.to(device, torch.float64) for x in norms]).tolist()
        numbers, largest = {}, 0.0
        for i, name in enumerate(values):
            drift = found[len(values) + i] / (self._sizes[name] or 1.0)
            numbers |= {f"conserved/{name}/norm": found[i], f"conserved/{name}/drift": drift}
            largest = drift if not drift <= largest else largest  # nan is the largest
        return numbers | {"conserved/drift": largest}

    def state_dict(self) -> dict[str, Any]:
        """The count of steps, and what drifts are measured from; safe to load with weights_only=True."""
        return {"steps": self.steps, "start": dict(self._start), "sizes": dict(self._sizes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: If it belongs to other quantities; nothing has changed then.
        """
        start = dict(state["start"])
        shapes = {n: tuple(t.shape) for n, t in start.items()}
        if shapes != {n: tuple(t.shape) for n, t in self._start.items()}:
            raise ValueError(
                f"Monitor: a state must hold these {len(self._start)} quantities; got {len(start)} others; "
                "make the monitor with the same symmetries and the same trained parameters."
            )
        self._start = {n: start[n].to(t.device).clone() for n, t in self._start.items()}
        self._sizes = {n: float(state["sizes"][n]) for n in self._sizes}
        self.steps = int(state["steps"])


def _trained(optimizer: Optimizer, symmetries: Symmetries) -> tuple[Symmetries, Rates]:
    """The symmetries that move only what the optimizer trains, and its relative learning rates."""
    rate_of = {
        id(p): float(group.get("initial_lr", group["lr"]))
        for group in optimizer.param_groups
        for p in group["params"]
    }
    named = dict(symmetries.model.named_parameters())
    largest = max(rate_of.values(), default=0.0)
    if not largest > 0:
        raise ValueError(
            "Monitor: the optimizer must have a positive learning rate; got none; make the monitor before it is "
            "scheduled down to zero."
        )
    left_out = {n for n, p in named.items() if not rate_of.get(id(p), 0.0) > 0}
    chosen = symmetries.where(lambda s: not left_out.intersection(s.parameters))
    if not chosen and len(symmetries):
        raise ValueError(
            "Monitor: the optimizer must train the parameters that some symmetry moves; got an optimizer of other "
            "parameters; make it from model.parameters(), of the model the symmetries were found in."
        )
    return chosen, {n: rate_of[id(p)] / largest for n, p in named.items() if n not in left_out}
