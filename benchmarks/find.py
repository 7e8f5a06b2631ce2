"""What `find` finds, how surely, how fast, and in how much memory: a table over the zoo and over real sizes.

    python benchmarks/find.py                        # the table; ten minutes on two cores
    python benchmarks/find.py --only resnet18        # one architecture (may be repeated; any name of the zoo will do)
    python benchmarks/find.py --json                 # and write benchmarks/results/find.json

Every architecture has a process of its own. `find` is called several times and the fastest counts: other work on the
machine only ever adds. Memory is what the first call adds to the resident set of a process that has built the model
and has loaded everything that `find` loads, in copies of the model in float64.
"""

import argparse
import ctypes
import gc
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "find.json"
# Entries of the tests' zoo that stand for an architecture each; the real sizes of models.py come after them.
SMALL = (
    "mlp_relu mlp_deep gate_swiglu deep_linear_three moe_soft weight_norm rbf_cdist embedding_tied "
    "residual_relu_stream deep_sets siamese_cosine einsum_tucker lora_trainable attention_softmax rope_gqa "
    "qk_rmsnorm encoder_layer_post_relu decoder_layer gpt_tied llama_like vit_small mlp_mixer conv2d conv3d "
    "resnet_batchnorm_eval resnet_batchnorm_train mobilenet_block_leaky unet_concat squeeze_excite "
    "inception_branches densenet_conv shufflenet_block groupnorm rmsnorm_stream layernorm_stream rnn_tanh "
    "gru_two_layers_bidirectional lstm_two_layers lstm_projected state_space hf_gpt2 hf_llama hf_bert hf_t5"
).split()
# (seconds, copies of the model in float64)
BARS = {"resnet18": (5.0, 2.0), "gpt2_small": (30.0, 2.0), "hf_gpt2_small": (30.0, 2.0)}
# Below this many parameters Python's own objects outweigh the model, and copies of it say nothing.
LARGE = 1_000_000

COLUMNS = (
    # title, width, what to print
    ("architecture", 28, lambda r: r["name"]),
    ("parameters", 11, lambda r: f"{r['parameters']:,}"),
    ("symmetries", 10, lambda r: r["symmetries"]),
    ("discrete", 8, lambda r: r["discrete"]),
    ("up to eps", 9, lambda r: r["approximate"]),
    ("dimension", 9, lambda r: r["dimension"]),
    ("left out", 8, lambda r: len(r["left_out"])),
    ("error", 7, lambda r: "" if r["error"] is None else f"{r['error']:.0e}"),
    ("seconds", 7, lambda r: f"{r['seconds']:.2f}"),
    ("cpu", 7, lambda r: f"{r['seconds_cpu']:.2f}"),
    ("verifying", 9, lambda r: f"{r['seconds'] - r['seconds_unverified']:.2f}"),
    ("MB", 6, lambda r: f"{r['megabytes']:.0f}"),
    ("copies", 6, lambda r: "" if r["copies"] is None else f"{r['copies']:.2f}"),
)


def main() -> int:
    """Measure, print, and say whether the bars hold."""
    options = parse()
    if options.measure:
        print(json.dumps(measure(options.measure, options.repeat, options.threads)))
        return 0
    names = options.only or [*SMALL, *models()]
    print(line(title for title, _, _ in COLUMNS))
    rows, met = [], []
    for name in names:
        row = in_a_process(name, options)
        if "missing" in row or "failed" in row:
            print(f"{name.ljust(28)}  {row.get('missing') or row['failed']}", flush=True)
            met.append("missing" in row)
            continue
        print(line(str(text(row)) for _, _, text in COLUMNS), flush=True)
        rows.append(row)
    met += [print_bar(row) for row in rows if row["name"] in BARS]
    if options.json:
        write(Path(options.json), rows, options)
    return 0 if all(met) else 1


def line(texts: Iterable[str]) -> str:
    first, *rest = zip(texts, (width for _, width, _ in COLUMNS), strict=True)
    return "  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="an architecture; may be repeated")
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH", help=f"write {RESULTS.name}")
    parser.add_argument("--repeat", type=int, default=3, help="calls, of which the fastest counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=12, help="memory of one process, GiB")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", name]
    command += ["--repeat", str(options.repeat), "--threads", str(options.threads)]
    limit = int(options.limit * 2**30)
    # Data, not address space: torch maps far more than it touches.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"name": name, "failed": f"exit code {done.returncode}: {last}"}
    return json.loads(done.stdout.splitlines()[-1])


def print_bar(row: dict[str, Any]) -> bool:
    seconds, copies = BARS[row["name"]]
    met = row["seconds"] <= seconds and row["copies"] <= copies
    print(
        f"{row['name']}: {row['seconds']:.1f} s of {seconds:.0f} s, {row['copies']:.2f} of {copies:.0f} copies: "
        + ("met" if met else "NOT MET")
    )
    return met


def write(path: Path, rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Put the rows into the file; those of other architectures that are there stay."""
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    merged = {r["name"]: r for r in known} | {r["name"]: r for r in rows}
    order = {n: i for i, n in enumerate([*SMALL, *models()])}
    settings = {"threads": options.threads, "repeat": options.repeat, "python": platform.python_version()}
    found = {
        "settings": settings | {"machine": platform.machine()},
        "bars": {n: {"seconds": s, "copies": c} for n, (s, c) in BARS.items()},
        "rows": sorted(merged.values(), key=lambda r: order.get(r["name"], len(order))),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


# --- in the process of one architecture ---


def measure(name: str, repeat: int, threads: int) -> dict[str, Any]:
    """Everything about one architecture."""
    import torch

    from isoloss.finding import find

    torch.set_num_threads(threads)
    try:
        model, inputs = build(name)
    except ModuleNotFoundError as error:
        return {"name": name, "missing": str(error)}
    warm_up(find)
    before = forget_peak()
    seconds, cpu, unverified, found = [], [], [], None
    for _ in range(repeat):
        start, busy = time.perf_counter(), time.process_time()
        found = find(model, inputs)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
        if len(seconds) == 1:
            extra = peak() - before
        start = time.perf_counter()
        find(model, inputs, verify=False)
        unverified.append(time.perf_counter() - start)
    size = sum(t.numel() for t in [*model.parameters(), *model.buffers()] if t.is_floating_point())
    return {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "symmetries": len(found),
        "discrete": sum(not s.dim for s in found),
        "approximate": sum(not s.exact for s in found),
        "dimension": found.dim,
        "left_out": list(found.notes),
        "error": max((s.error for s in found if s.exact), default=None),
        "seconds": round(min(seconds), 4),
        "seconds_cpu": round(min(cpu), 4),
        "seconds_unverified": round(min(unverified), 4),
        "megabytes": round(extra / 1e6, 2),
        "copies": round(extra / (8 * size), 3) if size >= LARGE else None,
        "torch": torch.__version__,
    }


def warm_up(find) -> None:
    """Have the code of the usual ops in memory, forward and backward: it is no part of what a model costs."""
    import torch
    from torch import nn

    image = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    find(nn.Sequential(*image, nn.Linear(4, 2)).eval(), torch.randn(2, 3, 8, 8))
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    find(nn.Sequential(nn.Embedding(5, 8), layer, nn.Linear(8, 5)).eval(), torch.tensor([[0, 1, 2]]))


def build(name: str):
    known = models()
    if name in known:
        return known[name]()
    sys.path.insert(0, str(HERE.parent / "tests"))
    from zoo import ENTRIES

    if name not in ENTRIES:
        raise SystemExit(f"find.py: --only takes a name of the zoo or of models.py; got {name!r}.")
    return ENTRIES[name].build()


def models():
    from models import MODELS

    return MODELS


def forget_peak() -> int:
    """Bytes resident now, after the allocator has given back what it can; the peak starts from here."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return status("VmRSS")
    return peak()


def peak() -> int:
    """Largest resident set so far, in bytes."""
    if sys.platform == "linux":
        return status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def status(key: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
