"""What one teleport costs, in training steps of the same network and batch, and against the papers' algorithm.

    python benchmarks/teleport_cost.py                   # the table; about five minutes on one core
    python benchmarks/teleport_cost.py --json            # and write benchmarks/results/teleport_cost.json
    python benchmarks/teleport_cost.py --only 1024x200   # some rows (may be repeated)
    python benchmarks/teleport_cost.py --twin 128x20     # the papers' algorithm on other rows, too
    python benchmarks/teleport_cost.py --dependent 128x20 512x200 --only none    # data-dependent teleports only

A step is zero_grad, forward, backward and optimizer.step. A teleport is `Teleport.step`, called as in training: right
after a backward pass, on weights that are put back to where they were after each measurement. Both are timed in turn
in one process, and the median over rounds of the ratio counts; CPU time, because other work stretches the clock.
The yardstick is one read and write of all parameters and gradients, in steps: no teleport can cost less.

The twin is Algorithm 1 of the papers taken at its word, with action 2 (dissertation, eq. 4.16), pseudo-inverses, and
10 steps of gradient ascent by autograd through all of it.

A data-dependent teleport (`dependent.search`, 10 ascent steps, up to the weights of the moved network) is timed beside
the twin, in one process, on a network without biases. It must be 5 times cheaper and, at the smallest radius that
gains as much as the twin says it does, change the loss no more, on its own batch and on 2000 held-out samples, up to
rounding.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu

from isoloss import Teleport, dependent, find
from isoloss.teleport import Jump, always

RESULTS = Path(__file__).resolve().parent / "results" / "teleport_cost.json"
WIDTHS, BATCHES = (128, 512, 1024, 2048), (20, 200, 2000)
TWIN = "1024x200"
TWIN_BAR = 400.0
ASCENT = 10
DEPENDENT_BAR = 5.0
DEPENDENT = [f"{width}x{batch}" for width in (128, 512, 1024) for batch in BATCHES]
# Rounding of a loss in float32: of the sum over a batch, and of the weights that were moved.
ROUNDING = 8 * torch.finfo(torch.float32).eps


def bar(width: int, batch: int) -> float | None:
    """Steps that a teleport of the multi-layer perceptron may cost."""
    if (width, batch) == (1024, 200):
        return 0.25
    if width >= 512:
        return 0.5 if batch >= 200 else 1.0
    return 3.0 if (width, batch) == (128, 20) else None


def main() -> int:
    """Measure, print, and say whether the bars hold."""
    options = parse()
    torch.set_num_threads(options.threads)
    titles = (
        ("parameters", 12),
        ("step ms", 10),
        ("teleport ms", 13),
        ("steps", 8),
        ("yardstick", 11),
        ("bar", 7),
        ("gain", 9),
    )
    print(" " * 20 + "".join(title.rjust(n) for title, n in titles) + "change of loss".rjust(16))
    rows = []
    for name, build in cases():
        if options.only and name not in options.only:
            continue
        try:
            row = measure(name, build, options)
        except Exception as error:  # a row that cannot be measured says why, and the others go on
            print(f"{name:20}left out: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            rows.append({"name": name, "left_out": str(error).splitlines()[0]})
            continue
        rows.append(row)
        print(
            f"{name:20}{row['parameters']:>12,}{row['step_ms']:>10.2f}{row['teleport_ms']:>13.2f}{row['steps']:>8.3f}"
            f"{row['yardstick']:>11.3f}"
            f"{row['bar'] or '':>7}{row['gain']:>9.4f}{row['loss_change']:>16.1e}",
            flush=True,
        )
    twins = [twin_row(name, options) for name in options.twin if not options.only or name in options.only]
    met = [row["steps"] <= row["bar"] for row in rows if row.get("bar")]
    met += [report_twin(twin, rows) for twin in twins]
    dependents = [dependent_row(name, options) for name in options.dependent]
    met += [report_dependent(row) for row in dependents]
    print(f"bars met: {sum(met)} of {len(met)}")
    if options.json:
        write(Path(options.json), rows, twins, dependents, options)
    return 0 if all(met) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="a row; may be repeated")
    parser.add_argument("--json", nargs="?", const=str(RESULTS), metavar="PATH", help=f"write {RESULTS.name}")
    parser.add_argument("--rounds", type=int, default=21, help="measurements of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="wall-clock instead of CPU time")
    parser.add_argument(
        "--twin", nargs="*", default=[TWIN], metavar="NAME", help="rows on which to run the twin"
    )
    parser.add_argument(
        "--dependent", nargs="*", default=DEPENDENT, metavar="NAME", help="rows of data-dependent teleports"
    )
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="learning rate of the twin; the default is the papers'"
    )
    return parser.parse_args()


def write(
    path: Path, rows: list[dict], twins: list[dict], dependents: list[dict], options: argparse.Namespace
) -> None:
    clock = "wall" if options.wall else "cpu"
    settings = {"threads": options.threads, "rounds": options.rounds, "clock": clock}
    settings |= {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {"settings": settings, "rows": rows, "twins": twins, "dependent": dependents}
    path.write_text(json.dumps(results, indent=1) + "\n")


# --- what is measured ---


def cases() -> Iterator[tuple[str, Callable]]:
    for width in WIDTHS:
        for batch in BATCHES:
            yield f"{width}x{batch}", lambda width=width, batch=batch: perceptron(width, batch)
    yield f"{TWIN} Adam", lambda: perceptron(*map(int, TWIN.split("x")), optimizer=torch.optim.Adam)
    yield "resnet", resnet
    yield "gpt", gpt


def perceptron(width: int, batch: int, optimizer=torch.optim.SGD, bias: bool = True):
    """784-w-w-10 with LeakyReLU, as in the papers."""
    model = nn.Sequential(
        nn.Linear(784, width, bias),
        nn.LeakyReLU(),
        nn.Linear(width, width, bias),
        nn.LeakyReLU(),
        nn.Linear(width, 10, bias),
    )
    x, y = torch.randn(batch, 784), torch.randint(10, (batch,))
    return (
        model,
        x,
        lambda: cross_entropy(model(x), y),
        optimizer(model.parameters(), lr=1e-3),
        bar(width, batch),
    )


def resnet():
    """ResNet-14 for 32 x 32 images, 16 to 64 channels, batches of 64."""
    from models import basic_block, conv_bn

    widths = (16, 16, 32, 64)
    blocks = [
        basic_block(i if first else o, o, 2 if first and o > 16 else 1)
        for i, o in zip(widths, widths[1:], strict=False)
        for first in (True, False)
    ]
    model = nn.Sequential(
        *conv_bn(3, 16), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    x, y = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    return model, x, lambda: cross_entropy(model(x), y), torch.optim.SGD(model.parameters(), lr=1e-3), None


def gpt():
    """Four pre-norm blocks of width 192 with 6 heads, 8 sequences of 128 tokens."""
    from models import GPT

    model = GPT(512, 128, 192, 4, 6)
    tokens = torch.randint(512, (8, 129))
    x, y = tokens[:, :-1], tokens[:, 1:]
    loss = lambda: cross_entropy(model(x).flatten(0, 1), y.flatten())  # noqa: E731
    return model, x, loss, torch.optim.AdamW(model.parameters(), lr=1e-4), None


def measure(name: str, build: Callable, options: argparse.Namespace) -> dict[str, Any]:
    """Time steps and teleports in turn."""
    torch.manual_seed(0)
    clock = time.perf_counter if options.wall else time.process_time
    model, example, loss, optimizer, limit = build()
    teleport = Teleport(optimizer, find(model, example), schedule=always)

    def backward() -> None:
        optimizer.zero_grad()
        loss().backward()

    for _ in range(3):
        backward()
        optimizer.step()
    home = [t.clone() for t in tensors(model, optimizer)]
    steps, jumps, touches, report = [], [], [], Jump(0, "")
    rounds = options.rounds if model_size(model) * len(example) < 1e9 else max(5, options.rounds // 3)
    for _ in range(rounds + 2):
        steps.append(timed(clock, backward, optimizer.step))
        put_back(home, model, optimizer)
        backward()
        start = clock()
        report = teleport.step()
        jumps.append(clock() - start)
        put_back(home, model, optimizer)
        backward()
        touches.append(timed(clock, lambda: touch(model)))
        put_back(home, model, optimizer)
    steps, jumps, touches = (
        steps[2:],
        jumps[2:],
        touches[2:],
    )  # the first rounds make the plan and warm the caches
    backward()
    before = loss().item()
    teleport.step()
    return {
        "name": name,
        "parameters": model_size(model),
        "symmetries": len(teleport.used),
        "step_ms": round(1e3 * statistics.median(steps), 3),
        "teleport_ms": round(1e3 * statistics.median(jumps), 3),
        "steps": round(statistics.median(j / s for j, s in zip(jumps, steps, strict=True)), 4),
        "yardstick": round(statistics.median(t / s for t, s in zip(touches, steps, strict=True)), 4),
        "bar": limit,
        "gain": round((report.gradient_norm_after / report.gradient_norm_before) ** 2, 4),
        "loss_change": abs(loss().item() / before - 1),
    }


@torch.no_grad()
def touch(model: nn.Module) -> None:
    """Read and write every parameter and gradient once."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    torch._foreach_mul_([*parameters, *(p.grad for p in parameters)], 1.0)


def timed(clock: Callable[[], float], *calls: Callable) -> float:
    start = clock()
    for call in calls:
        call()
    return clock() - start


def tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    state = [v for p in model.parameters() for v in optimizer.state[p].values() if isinstance(v, Tensor)]
    return [*model.parameters(), *model.buffers(), *state]


@torch.no_grad()
def put_back(home: list[Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for now, then in zip(tensors(model, optimizer), home, strict=True):
        now.copy_(then)


def model_size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# --- the twin ---


def act(weights: list[Tensor], algebra: list[Tensor], x: Tensor) -> list[Tensor]:
    """Action 2, eq. (4.16), on every pair of adjacent layers, with g = I + T; columns of x are samples."""
    weights = list(weights)
    h = x
    for m, t in enumerate(algebra):
        g = torch.eye(len(t)) + t
        before = leaky_relu(weights[m] @ h)
        weights[m] = g @ weights[m]
        after = leaky_relu(weights[m] @ h)
        weights[m + 1] = weights[m + 1] @ before @ torch.linalg.pinv(after)
        h = after
    return weights


def network_loss(weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    h = x
    for w in weights[:-1]:
        h = leaky_relu(w @ h)
    return cross_entropy((weights[-1] @ h).T, y)


def algorithm_1(
    weights: list[Tensor], x: Tensor, y: Tensor, rate: float = 1e-3
) -> tuple[list[Tensor], float]:
    """Gradient ascent on T of the squared gradient norm at the moved point; the last argument is the papers' rate."""
    algebra = [torch.zeros(len(w), len(w)) for w in weights[:-1]]
    norms = []
    for _ in range(ASCENT):
        algebra = [t.detach().requires_grad_() for t in algebra]
        moved = act(weights, algebra, x)
        gradients = torch.autograd.grad(network_loss(moved, x, y), moved, create_graph=True)
        norm = torch.stack([g.square().sum() for g in gradients]).sum()
        slopes = torch.autograd.grad(norm, algebra)
        algebra = [t + rate * slope for t, slope in zip(algebra, slopes, strict=True)]
        norms.append(norm.item())
    with torch.no_grad():
        return act(weights, [t.detach() for t in algebra], x), norms[-1] / norms[0]


def twin_row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    width, batch = map(int, name.split("x"))
    torch.manual_seed(0)
    clock = time.perf_counter if options.wall else time.process_time
    model, _, loss, optimizer, _ = perceptron(width, batch)
    x, y = torch.randn(784, batch), torch.randint(10, (batch,))
    weights = [layer.weight.detach() for layer in model if isinstance(layer, nn.Linear)]

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    steps = [timed(clock, step) for _ in range(options.rounds)]
    costs = []
    for _ in range(3):
        start = clock()
        moved, gain = algorithm_1(weights, x, y)
        costs.append(clock() - start)
    before, after = network_loss(weights, x, y).item(), network_loss(moved, x, y).item()
    return {
        "name": name,
        "ms": round(1e3 * statistics.median(costs), 1),
        "steps": round(statistics.median(costs) / statistics.median(steps), 1),
        "gain": round(gain, 4),
        "loss_change": abs(after / before - 1),
    }


def report_twin(twin: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    ours = next((row for row in rows if row["name"] == twin["name"] and "steps" in row), None)
    if ours is None:
        print(f"twin {twin['name']}: {twin['steps']:.0f} steps; no row of ours to compare it with")
        return True
    twin["times_cheaper"] = round(twin["steps"] / ours["steps"], 1)
    required = f" (bar {TWIN_BAR:.0f})" if twin["name"] == TWIN else ""
    print(
        f"twin {twin['name']}: {twin['steps']:.0f} steps, gain {twin['gain']:.3f}, change of loss "
        f"{twin['loss_change']:.1e}; ours is {twin['times_cheaper']:.0f} times cheaper{required}"
    )
    return twin["name"] != TWIN or twin["times_cheaper"] >= TWIN_BAR


# --- data-dependent teleports ---


def dependent_row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The twin and ours, in turn, on the same network and batch."""
    width, batch = map(int, name.split("x"))
    torch.manual_seed(0)
    clock = time.perf_counter if options.wall else time.process_time
    # Without biases, of which the twin knows nothing.
    model, x, loss, optimizer, _ = perceptron(width, batch, bias=False)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    y = targets_of(loss)
    weights = [layer.weight.detach().clone() for layer in layers]
    other = torch.randn(2000, 784), torch.randint(10, (2000,))
    symmetries = find(model, x[:2])
    home = tensors(model, optimizer)
    start = [t.clone() for t in home]

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    def ours(radius: float = 0.1) -> tuple[float, float, float]:
        put_back(start, model, optimizer)
        dependent.teleport_(symmetries, loss, steps=ASCENT, radius=radius)
        return effect(model, loss, other, start, optimizer)

    steps, twins, mine, moved, claimed = [], [], [], weights, 1.0
    rounds = 15 if width * batch < 5e4 else 3 if width * batch < 1e6 else 1
    for _ in range(rounds + 1):
        put_back(start, model, optimizer)
        steps.append(timed(clock, step))
        put_back(start, model, optimizer)
        # Like the twin, to the weights of the moved network and no further.
        mine.append(timed(clock, lambda: dependent.search(symmetries, loss, steps=ASCENT)))
    for _ in range(rounds):
        begin = clock()
        moved, claimed = algorithm_1(weights, x.T, y, options.rate)
        twins.append(clock() - begin)
    put_back(start, model, optimizer)
    with torch.no_grad():
        for layer, w in zip(layers, moved, strict=True):
            layer.weight.copy_(w)
    twin = effect(model, loss, other, start, optimizer)
    gain, change, held_out = ours()
    wanted = max(claimed, twin[0])
    # The gain grows at first in proportion to the radius.
    radius = 0.1 * min(1.0, 1.2 * max(wanted - 1.0, 1e-4) / max(gain - 1.0, 1e-9))
    matched = ours(radius)
    while matched[0] < wanted and radius < 1.0:
        radius *= 1.5
        matched = ours(radius)
    put_back(start, model, optimizer)
    # The least of each: other work on the machine slows what is short more than what is long.
    one, cost, literal = min(steps[1:]), min(mine[1:]), min(twins)
    return {
        "name": name,
        "rate": options.rate,
        "step_ms": round(1e3 * one, 2),
        "ms": round(1e3 * cost, 1),
        "steps": round(cost / one, 1),
        "twin_ms": round(1e3 * literal, 1),
        "times_cheaper": round(literal / cost, 2),
        "default": dict(zip(EFFECT, (gain, change, held_out), strict=True)),
        "matched": {"radius": radius, **dict(zip(EFFECT, matched, strict=True))},
        "twin": {"claimed_gain": claimed, **dict(zip(EFFECT, twin, strict=True))},
    }


EFFECT = ("gain", "loss_change", "held_out_change")


def targets_of(loss: Callable[[], Tensor]) -> Tensor:
    """The targets that a loss of `perceptron` has in its closure."""
    cells = dict(zip(loss.__code__.co_freevars, loss.__closure__ or (), strict=True))  # type: ignore[attr-defined]
    return cells["y"].cell_contents


def effect(model, loss, other, start, optimizer) -> tuple[float, float, float]:
    """Gain of the squared gradient norm, and relative changes of the loss, against the start."""
    x, y = other
    numbers = []
    there = [t.clone() for t in tensors(model, optimizer)]
    for place in (there, start):
        put_back(place, model, optimizer)
        value = loss()
        found = torch.autograd.grad(value, list(model.parameters()))
        squared = sum(g.double().square().sum().item() for g in found)
        with torch.no_grad():
            numbers.append((squared, value.item(), cross_entropy(model(x), y).item()))
    after, before = numbers
    return after[0] / before[0], abs(after[1] / before[1] - 1), abs(after[2] / before[2] - 1)


def report_dependent(row: dict[str, Any]) -> bool:
    matched, twin = row["matched"], row["twin"]
    met = (
        row["times_cheaper"] >= DEPENDENT_BAR
        and matched["gain"] >= max(twin["claimed_gain"], twin["gain"])
        and matched["loss_change"] <= twin["loss_change"] + ROUNDING
        and matched["held_out_change"] <= twin["held_out_change"] + ROUNDING
    )
    print(
        f"dependent {row['name']}: {row['ms']:.1f} ms ({row['steps']:.0f} steps), "
        f"{row['times_cheaper']:.1f} times cheaper than the twin "
        f"(bar {DEPENDENT_BAR:.0f}: {'met' if met else 'missed'})"
    )
    for who in ("default", "matched", "twin"):
        r = row[who]
        print(
            f"    {who:8} gain {r['gain']:.4f}, change of loss {r['loss_change']:.1e}, "
            f"held out {r['held_out_change']:.1e}"
            + (f", radius {r['radius']:.2g}" if "radius" in r else "")
            + (
                f", gain from where it has moved at once {r['claimed_gain']:.4f}"
                if "claimed_gain" in r
                else ""
            ),
            flush=True,
        )
    return met


if __name__ == "__main__":
    sys.exit(main())
