"""What training has come to, on disk and back."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoloss import _checkpoint
from isoloss._files import write_file

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Record:
    """One measurement during training, on samples that it does not see.

    Attributes:
        step: Steps done.
        objective: The weighted objective there.
        terms: Each of its terms, without its weight.
        invariance: Root mean square slope along the directions over that along random ones.
        norm: Median length of the directions.
        independence: Median of the least singular value of the unit directions: 1 if orthogonal, 0 if dependent.
    """

    step: int
    objective: float
    terms: dict[str, float]
    invariance: float
    norm: float
    independence: float


@dataclass
class Progress:
    """Everything that training continues from.

    Attributes:
        step: Steps done.
        history: Measurements.
        best: What was learned at the lowest objective.
        lowest: That objective.
        waited: Measurements since then.
    """

    step: int = 0
    history: list[Record] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    lowest: float = float("inf")
    waited: int = 0


def save(
    folder: Path, learned: nn.Module, adam: torch.optim.Optimizer, progress: Progress, context: Any
) -> None:
    """Write a checkpoint; a reader sees the old one or the new one."""
    from safetensors.torch import save as encode

    tensors = {f"learned/{name}": p for name, p in learned.state_dict().items()}
    tensors |= {f"best/{name}": p for name, p in progress.best.items()}
    tensors |= _checkpoint.memory(adam)
    told = {
        "context": context, "step": progress.step, "history": [asdict(r) for r in progress.history],
        "lowest": progress.lowest if progress.best else None, "waited": progress.waited,
    }  # fmt: skip
    content = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    write_file(folder / CHECKPOINT, encode(content, metadata={"isoloss": json.dumps(told)}))


def load(folder: Path, learned: nn.Module, adam: torch.optim.Optimizer, context: Any) -> Progress | None:
    """Continue from a checkpoint; None if there is none.

    Raises:
        ValueError: If it cannot be read, or is of another training.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            told = json.loads((file.metadata() or {})["isoloss"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        wrote, history = dict(told["context"]), [Record(**r) for r in told["history"]]
        lowest = float("inf") if told["lowest"] is None else told["lowest"]
        progress = Progress(told["step"], history, {}, lowest, told["waited"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    if differs := _checkpoint.differing(wrote, context):
        raise ValueError(
            f"discover: a checkpoint continues the training that wrote it; {path} differs in {', '.join(differs)}; "
            "name another folder, or start afresh (resume=False)."
        )
    parts = _checkpoint.by_owner(tensors)
    try:
        progress.best = parts["best"]
        for state in (progress.best, parts["learned"]):
            learned.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise _damaged(path, error) from error
    _checkpoint.restore_memory(adam, parts.get("adam", {}))
    return progress


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"discover: the checkpoint must be one that training wrote; got {path} ({str(error).splitlines()[0]}); "
        "delete it, or name another folder."
    )
