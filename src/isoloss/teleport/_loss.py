"""The training loss as a function of named tensors, made from the closure that a user has anyway."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from isoloss.teleport._measure import version
from isoloss.teleport._places import everywhere, places

LossClosure = Callable[[], Tensor]


class Loss:
    """The loss of the current minibatch at any parameters; differentiable, also under `torch.func`.

    Every evaluation draws the same random numbers (dropout masks) and leaves no trace: running statistics, other
    buffers, gradients and generators are afterwards what they were. Attention takes the math kernel, which alone
    has second derivatives. Differentiate twice in reverse: torch lacks forward rules for the backward of some
    losses, mse_loss among them. Under `torch.func.vmap` dropout needs randomness="same".

    Args:
        closure: Returns the loss that backward() is called on, from a forward pass of the model (or of its compiled
            or data-parallel wrapper). Autocast belongs inside. With a scaler or with accumulated minibatches it
            returns the scaled loss, the mean over all of them, as the gradients have it.
        model: Whose parameters are replaced.
        trained: Names of parameters, on one of which at least the loss must depend; seen to by the first evaluation,
            for one forward and one backward pass more.
        where: Who asks for the loss, for messages.
    """

    def __init__(
        self,
        closure: LossClosure,
        model: nn.Module,
        trained: Collection[str] = (),
        *,
        where: str = "Teleport",
    ):
        self._where = where
        self._closed = _Closed(closure, model)
        self._model = model
        self._trained = tuple(trained)
        self._devices = sorted({p.device.index for p in model.parameters() if p.is_cuda})
        self._random = torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in self._devices]
        # In training mode these use the statistics of the batch, and the running ones only change.
        self._norms = [
            m for m in model.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats
        ]
        running = {id(b) for m in self._norms for b in m.buffers(recurse=False)}
        self._places = places(model)
        self._buffers = {n: b for n, b in model.named_buffers() if id(b) not in running}

    def __call__(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The loss at these parameters, a tensor of no dimension; absent names are the model's own.

        Args:
            tensors: Parameters, or buffers, by the names that the model gives them.

        Raises:
            ValueError: If the closure returns no single number, does not use the parameters, or writes gradients.
        """
        self.check_dependence()
        versions = [version(p.grad) for p in self._model.parameters()]
        buffers = {n: b.clone() for n, b in self._buffers.items() if n not in tensors}
        swapped = {f"model.{n}": t for n, t in everywhere(buffers | dict(tensors), self._places).items()}
        with self._without_a_trace():
            loss = functional_call(self._closed, swapped, (), tie_weights=False)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(
                f"{self._where}: loss must return a tensor with one number; got {got}; return the mean over the batch."
            )
        if [version(p.grad) for p in self._model.parameters()] != versions:
            raise ValueError(
                f"{self._where}: loss must leave gradients alone; got a closure that writes .grad; "
                "return the loss without calling zero_grad() or backward()."
            )
        if (
            torch.is_grad_enabled()
            and any(t.requires_grad for t in tensors.values())
            and not loss.requires_grad
        ):
            raise ValueError(
                f"{self._where}: loss must be a differentiable function of the model's parameters; got a value "
                "without a graph; call the model in whose parameters the symmetries were found, outside of no_grad."
            )
        return loss.reshape(())

    @property
    def checked(self) -> bool:
        """Has it been seen to depend on the parameters that are trained?"""
        return not self._trained

    def check_dependence(self) -> None:
        """Refuse a closure that looks elsewhere: at the first evaluation, or before, where hooks count the passes.

        Raises:
            ValueError: If the loss depends on none of the parameters, as when it is computed with another copy.
        """
        if not self._trained or torch._C._are_functorch_transforms_active():
            return
        trained, self._trained = self._trained, ()
        named = dict(self._model.named_parameters())
        leaves = {
            n: named[n].detach().clone().requires_grad_() for n in trained if named[n].is_floating_point()
        }
        if not leaves:
            return
        with torch.enable_grad():
            found = torch.autograd.grad(self(leaves), list(leaves.values()), allow_unused=True)
        if all(g is None for g in found):
            raise ValueError(
                f"{self._where}: loss must depend on the parameters that are trained; got a closure that uses none "
                "of them; call the model in which the symmetries were found, not a copy of it."
            )

    @contextmanager
    def _without_a_trace(self) -> Iterator[None]:
        cpu, cuda = self._random
        for m in self._norms:
            m.track_running_stats = False
        try:
            with torch.random.fork_rng(self._devices), sdpa_kernel(SDPBackend.MATH):
                torch.set_rng_state(cpu)
                for device, state in zip(self._devices, cuda, strict=True):
                    torch.cuda.set_rng_state(state, device)
                yield
        finally:
            for m in self._norms:
                m.track_running_stats = True


class _Closed(nn.Module):
    """The closure as a module that has the model inside, so that its parameters can be replaced by name."""

    def __init__(self, closure: LossClosure, model: nn.Module):
        super().__init__()
        self.model = model
        self._closure = (closure,)  # in a tuple: a closure that is a module must not be registered

    def forward(self) -> Tensor:
        return self._closure[0]()
