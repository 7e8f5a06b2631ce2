"""What training has come to, run by run, on disk and back."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isoloss import _checkpoint
from isoloss._files import write_file
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._save import described, fill

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class RunRecord:
    """One training run.

    Attributes:
        run: Its number, from 0.
        meta_loss: Mean over its stretches and tasks; None if it was given up.
        last: Median over the tasks of the loss at its end; likewise.
        norm: Largest norm of a meta-gradient before clipping.
        skipped: Updates left out since the meta-gradient was not finite.
        validation: Meta-loss on the validation tasks, if it was measured after this run.
    """

    run: int
    meta_loss: float | None
    last: float | None
    norm: float
    skipped: int
    validation: float | None = None


@dataclass
class Progress:
    """Everything that training continues from.

    Attributes:
        history: The runs so far.
        best: Parameters of the meta-optimizer with the lowest validation, and that value.
        failures: Runs in a row that were given up.
        skips: Updates in a row that were left out.
    """

    history: list[RunRecord] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_validation: float | None = None
    failures: int = 0
    skips: int = 0

    @property
    def longest(self) -> int:
        """Failures in a row, of runs or of updates."""
        return max(self.failures, self.skips)


def save(
    folder: Path,
    meta: MetaOptimizer,
    adam: torch.optim.Adam,
    generator: torch.Generator,
    progress: Progress,
    context: Any,
) -> None:
    """Write a checkpoint; a reader sees the old one or the new one."""
    from safetensors.torch import save as encode

    tensors = {f"meta/{name}": p.detach() for name, p in meta.named_parameters()}
    tensors |= {f"best/{name}": p for name, p in (progress.best or {}).items()}
    tensors |= _checkpoint.memory(adam)
    tensors["generator"] = generator.get_state()
    told = {
        "context": context,
        "history": [asdict(r) for r in progress.history],
        "best_validation": progress.best_validation,
        "failures": progress.failures,
        "skips": progress.skips,
    }
    content = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    write_file(folder / CHECKPOINT, encode(content, metadata={"isoloss": json.dumps(told)}))


def load(
    folder: str | os.PathLike[str],
    meta: MetaOptimizer,
    adam: torch.optim.Adam,
    generator: torch.Generator,
    context: Any,
) -> Progress | None:
    """Continue from a checkpoint, None if there is none.

    Raises:
        ValueError: If it cannot be read, or is of another training.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            told = json.loads((file.metadata() or {})["isoloss"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        wrote = dict(told["context"])
        history = [RunRecord(**r) for r in told["history"]]
        progress = Progress(history, None, told["best_validation"], told["failures"], told["skips"])
        state = tensors.pop("generator")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"meta_train: the checkpoint must be one that training wrote; got {path} ({error}); "
            "delete it, or train in another folder."
        ) from error
    if differs := _checkpoint.differing(wrote, context):
        raise ValueError(
            f"meta_train: a checkpoint continues the training that wrote it; {path} differs in {', '.join(differs)}; "
            "train in another folder, or start afresh (resume=False, --fresh)."
        )
    parts = _checkpoint.by_owner(tensors)
    held, needed = (
        {name: (t.dtype, t.shape) for name, t in ts.items()}
        for ts in (parts.get("meta", {}), dict(meta.named_parameters()))
    )
    if held != needed:
        name = sorted(dict(held.items() ^ needed.items()))[0]
        raise ValueError(
            f"meta_train: a checkpoint continues the meta-optimizer that wrote it; {path} has another {name}; "
            "train in another folder, or start afresh (resume=False, --fresh)."
        )
    with torch.no_grad():
        for name, p in meta.named_parameters():
            p.copy_(parts["meta"][name])
    _checkpoint.restore_memory(adam, parts.get("adam", {}))
    generator.set_state(state)
    progress.best = parts.get("best")
    return progress


def load_checkpoint(folder: str | os.PathLike[str]) -> MetaOptimizer:
    """The meta-optimizer in the checkpoint of a training, finished or not: that of the best validation so far.

    Without a validation, that of the last run. Which runs and which tasks is in its `info`.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it is damaged, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(
            f"load_checkpoint: the folder must be one that was trained in; got {folder} without {CHECKPOINT}; "
            "name the out of meta_train."
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            told = json.loads((file.metadata() or {})["isoloss"])
            names = list(file.keys())
            kind = "best/" if any(n.startswith("best/") for n in names) else "meta/"
            tensors = {n.removeprefix(kind): file.get_tensor(n) for n in names if n.startswith(kind)}
        context, runs = dict(told["context"]), len(told["history"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"load_checkpoint: the checkpoint must be one that training wrote; got {path} ({error}); train again."
        ) from error
    meta = described(context, str(path))
    fill(meta, tensors, str(path))
    meta.info = {"tasks": context.get("tasks"), "recipe": context.get("recipe"), "runs": runs}
    return meta
