"""How many training steps a second `discover` takes, against a loop that forms the Jacobians.

The twin writes objective (6.3) as it is printed: one sample after another, D_theta L, D_g a and D_theta a from
`torch.autograd.functional.jacobian`, and a backward pass through them; the same perceptron, batch of 64, published
weights, clipping and Adam. It is timed both ways that function has: one backward pass for each output, its default, and
vectorize=True. tests/discovery/test_twin.py shows that objectives and their gradients agree. Steps of `discover` are
timed as a user has them, with sampling, and measuring every 100 steps. Medians of ratios of runs in turn, by the wall
clock and by processor time:

    python benchmarks/discovery.py                 # the table
    python benchmarks/discovery.py --json          # and write benchmarks/results/discovery.json; other rows stay
    python benchmarks/discovery.py --profile       # where the time of discover goes
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch.autograd.functional import jacobian

from isoloss.discovery import Recipe, discover, normal
from isoloss.discovery._discover import Learned
from isoloss.discovery._loss import Losses
from isoloss.discovery._sampler import Sampler
from isoloss.discovery.actions import action_of

RESULTS = Path(__file__).resolve().parent / "results" / "discovery.json"
EVERY = 100  # steps between measurements, the default


def sigmoid(w, data):
    """The net of Figure 6.4, 12 parameters, one data point."""
    return (w["w2"] @ torch.sigmoid(w["w1"] @ data["x"]) - data["y"]).square().sum()


def transformer(w, data):
    """That of Figure 6.7: one head, a residual connection, two linear maps; 28 parameters, 8 sequences of 2 tokens."""
    x = data["x"]
    scores = (x @ w["q"]) @ (x @ w["k"]).mT / x.shape[-1] ** 0.5
    z = x + torch.softmax(scores, -1) @ (x @ w["v"])
    return (z @ w["w1"] @ w["w2"] - data["y"]).square().mean((-1, -2))


CASES = {
    "sigmoid 3-3-1": (sigmoid, normal(w1=(3, 3), w2=(1, 3)), normal(x=(3, 1), y=(1, 1)), 1),
    "tiny transformer": (
        transformer,
        normal(q=(2, 2), k=(2, 2), v=(2, 2), w1=(2, 4), w2=(4, 2)),
        normal(x=(8, 2, 2), y=(8, 2, 2)),
        8,
    ),
}


def twin_objective(losses, action, h, theta, x, recipe, vectorize=False):
    """Eq. (6.3), sample by sample."""
    one, k, n = torch.eye(action.size).to(theta), len(h), len(theta)
    total = dict.fromkeys(("invariance", "identity", "associativity", "norm"), 0.0)
    for t, y in zip(theta, x, strict=True):
        move = lambda g, t, y=y: action(g, t[None], y[None])[0]  # noqa: E731
        by_loss = jacobian(lambda t, y=y: losses.one(t, y), t, vectorize=vectorize)
        by_g = jacobian(lambda g, t=t, f=move: f(g, t), one, create_graph=True, vectorize=vectorize)
        by_theta = jacobian(lambda t, f=move: f(one, t), t, create_graph=True, vectorize=vectorize)
        v = [(by_g * h[i]).sum((1, 2)) for i in range(k)]
        total["identity"] += (move(one, t) - t).norm() / n
        for i in range(k):
            j = (i + 1) % k
            total["invariance"] += (by_loss @ v[i]).abs().mean() / (n * k)
            total["norm"] += (recipe.beta - v[i].norm()).abs() / (n * k)
            both = (by_g * (h[i] + h[j])).sum((1, 2))
            total["associativity"] += (by_theta @ v[i] + v[j] - both).norm() / (n * k)
    pairs = [(h[i], h[j]) for i in range(k) for j in range(i + 1, k)]
    total["orthogonality"] = sum((a * b).sum() / (a.norm() * b.norm()) for a, b in pairs)
    total["sparsity"] = h.abs().sum()
    return sum(recipe.weights[name] * term for name, term in total.items())


def parts(case, recipe, batch=None):
    """Losses, what is learned, and one batch."""
    loss, params, data, count = CASES[case]
    sampler = Sampler(params, data, "benchmark")
    torch.manual_seed(0)
    learned = Learned(action_of("mlp", sampler.params.size, sampler.data.size), count)
    return Losses(loss, sampler.params, sampler.data), learned, *sampler(batch or recipe.batch, 0)


def twin(case, recipe, vectorize):
    """A function of no arguments that takes one training step."""
    losses, learned, theta, x = parts(case, recipe)
    adam = torch.optim.Adam(learned.parameters(), recipe.lr)

    def step():
        total = twin_objective(losses, learned.action, learned.h(), theta, x, recipe, vectorize)
        adam.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(learned.parameters(), recipe.clip)
        adam.step()

    return step


def ours(case, recipe, action):
    """Wall and processor seconds a step of `discover`, between its first measurement and its last."""
    times = []
    watch = lambda record: times.append((time.perf_counter(), time.process_time()))  # noqa: E731
    discover(*CASES[case], action=action, recipe=recipe, watch=watch)
    steps = recipe.steps - recipe.validate
    return tuple((b - a) / steps for a, b in zip(times[0], times[-1], strict=True))


def measured(run):
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(case, vectorize, rounds):
    """Milliseconds a step, of both, and the medians of their ratios."""
    recipe = Recipe.published(steps=2 * EVERY, validate=EVERY)
    step = twin(case, recipe, vectorize)
    step()
    told = [(measured(step), ours(case, recipe, "mlp")) for _ in range(rounds)]
    row = {}
    for i, clock in enumerate(("wall", "processor")):
        row[clock] = {
            "twin_ms": statistics.median(a[i] for a, _ in told) * 1e3,
            "ours_ms": statistics.median(b[i] for _, b in told) * 1e3,
            "times": statistics.median(a[i] / b[i] for a, b in told),
        }
    return row


def profile(case):
    """The operations that take the most processor time in 50 steps."""
    recipe = Recipe.published(steps=50, validate=50)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        discover(*CASES[case], action="mlp", recipe=recipe)
    print(case, seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=15), sep="\n")


def write(rows, found):
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    keys = ("case", "vectorize", "threads")
    again = {tuple(row[k] for k in keys) for row in rows}
    kept = [row for row in told["rows"] if tuple(row[k] for k in keys) not in again]
    machine = {"torch": torch.__version__, "machine": platform.machine()}
    RESULTS.write_text(json.dumps(told | machine | found | {"rows": kept + rows}, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for case in (name for name in CASES if options.only in name):
        if options.profile:
            profile(case)
            continue
        for vectorize in (False, True):
            row = compare(case, vectorize, options.rounds)
            wall, processor = row["wall"], row["processor"]
            print(
                f"{case:17} vectorize={vectorize!s:5}  wall {wall['twin_ms']:8.1f} {wall['ours_ms']:6.2f} ms "
                f"{wall['times']:6.1f} times   processor {processor['twin_ms']:8.1f} {processor['ours_ms']:6.2f} ms "
                f"{processor['times']:6.1f} times",
                flush=True,
            )
            if options.json:
                write([{"case": case, "vectorize": vectorize, "threads": options.threads, **row}], {})
        default = Recipe(steps=2 * EVERY, validate=EVERY)
        told = [ours(case, default, "residual") for _ in range(options.rounds)]
        wall, processor = (statistics.median(clock) * 1e3 for clock in zip(*told, strict=True))
        print(
            f"{case:17} by default: {wall:.2f} ms a step by the wall clock, {processor:.2f} of the processor"
        )
        if options.json:
            write([], {f"{case}, by default": {"wall_ms": wall, "processor_ms": processor}})


if __name__ == "__main__":
    main()
