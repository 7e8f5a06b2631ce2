"""How many optimizee steps a second meta-training takes, against one trajectory at a time.

The twin is the loop of published code for learning to optimize: weights W1 and W2 of one task, `torch.autograd.grad` at
every step, nn.LSTMCell, the same networks, features, unroll of 20 steps, first-order meta-gradient and Adam; the
coordinate-wise LSTM reads one tensor after the other. tests/learn/test_twin.py shows that losses and meta-gradients
agree. 20x20 regression; medians of ratios of runs in turn, by the wall clock and by processor time. The floor of the
coordinate-wise LSTM is what its matrix products and activations take alone, forward and backward, at the speed at which
torch does them on that many rows; nothing else can be batched away:

    python benchmarks/learn.py                 # the table
    python benchmarks/learn.py --json          # and write benchmarks/results/learn.json; other rows stay
    python benchmarks/learn.py --threads 1
"""

import argparse
import json
import platform
import resource
import statistics
import time
from pathlib import Path

import torch

from isoloss.learn import Design, Layout, Loop, MetaOptimizer, Recipe, evaluate
from isoloss.learn.actions import element
from isoloss.learn.directions import DIRECTIONS
from isoloss.learn.parts._update import RETURN, STRIDE
from isoloss.learn.tasks import TwoLayerRegression
from isoloss.learn.training._estimate import backprop

RESULTS = Path(__file__).resolve().parent / "results" / "learn.json"
STEPS = 20
DESIGNS = {
    "whole, published, update": Design.published("update"),
    "whole, published, update,tele": Design.published("update", "tele"),
    "coordinate, update": Design(("update",)),
    "coordinate, update,tele": Design(("update", "tele")),
}
TINY = torch.finfo(torch.float64).tiny ** 0.5


class Twin:
    """The training of one optimizee, step by step, with the networks of a meta-optimizer."""

    def __init__(self, meta, tasks, weights, data):
        self.meta, self.tasks, self.data, self.design = meta, tasks, data, meta.design
        self.weights = dict(weights)
        self.memory = {}
        self.home = self._length()
        self.first_rate = None
        self.seen = {name: Seen() for name in weights}
        self.last, self.log_rates = None, {name: 0.0 for name in weights}

    def _length(self):
        return torch.sqrt(sum(w.detach().square().sum() for w in self.weights.values()))

    def run(self, steps):
        """The losses after every step; differentiable."""
        losses = []
        for step in range(steps):
            loss, slopes = self._slopes()
            if step:
                losses.append(loss)
            if self.design.network == "whole":
                self._whole(slopes)
            else:
                self._coordinate(step, slopes)
        losses.append(self._slopes()[0])
        return torch.stack(losses)

    def _slopes(self):
        w = {name: p if p.requires_grad else p.requires_grad_() for name, p in self.weights.items()}
        loss = self.tasks.loss(w, self.data)
        found = torch.autograd.grad(loss, list(w.values()), retain_graph=True)
        return loss, {name: g.detach() for name, g in zip(w, found, strict=True)}

    def network(self, part, key, x):
        """nn.LSTMCell one above the other, and nn.Linear."""
        network = self.meta.part(part).network
        x = x.to(network.read.weight.dtype)
        for i, cell in enumerate(network.cells):
            x, c = cell(x, self.memory.get((part, key, i)))
            self.memory[part, key, i] = x, c
        return network.read(x).double()

    def _whole(self, slopes):
        flat = torch.cat([g.flatten() for g in slopes.values()])[None]
        step, start = self.network("update", None, flat)[0], 0
        for name, w in self.weights.items():
            self.weights[name] = w + step[start : start + w.numel()].view_as(w)
            start += w.numel()
        if "tele" in self.design.variant:
            a = self.network("tele", None, flat).view(20, 20)
            self.weights = self._moved(torch.linalg.matrix_exp(a))

    def _moved(self, g):
        w1, w2, x = self.weights["W1"], self.weights["W2"], self.data["X"]
        sigma = lambda z: torch.nn.functional.leaky_relu(z, self.tasks.slope)  # noqa: E731
        before, after = sigma(w1 @ x), sigma(g @ w1 @ x)
        return {"W1": g @ w1, "W2": w2 + torch.linalg.solve(after, w2 @ (before - after), left=False)}

    def _coordinate(self, step, slopes):
        if "tele" in self.design.variant and self.design.jumps(step):
            # What is remembered is the gradient after the teleport.
            self._teleport(step, slopes)
            _, slopes = self._slopes()
        gradient = torch.sqrt(sum(g.square().sum() for g in slopes.values()))
        turned = torch.zeros(())
        if step:
            before = torch.sqrt(sum(g.square().sum() for g in self.last.values()))
            turned = sum((g * self.last[name]).sum() for name, g in slopes.items()) / (gradient * before)
        if step == 0:
            self.first_rate = (self._length() + 1e-30).log() - gradient.clamp_min(1e-30).log()
        moves = {}
        for name, g in slopes.items():
            features = self.seen[name].features(g, step, turned)
            outputs = self.network("update", name, features)
            u, d = outputs[:, 0].view_as(g), outputs[:, 1].view_as(g)
            self.log_rates[name] = RETURN * self.log_rates[name] + STRIDE * u.tanh()
            rate = (self.log_rates[name] + self.first_rate + self.meta.part("update").log_rate).exp()
            moves[name] = -rate * (g + self.seen[name].scale * d)
        bound = (self.design.trust * (self.home + self._length())).clamp_min(1e-6)
        length = sum(m.square().sum() for m in moves.values())
        factor = bound / (bound.square() + length).sqrt()
        self.weights = {name: w + factor * moves[name] for name, w in self.weights.items()}
        self.last = slopes

    def _teleport(self, step, slopes):
        assert step == 0  # where the summary of what was seen is short
        (action,) = self.tasks.actions
        cut = {name: w.detach() for name, w in self.weights.items()}
        with torch.no_grad():
            proposals = [
                DIRECTIONS[name]()(
                    action, lambda w: self.tasks.loss(w, self.data), cut, self.data, slopes
                ).double()
                for name in self.design.directions
            ]
        scales = torch.stack([g.square().mean().sqrt() for g in slopes.values()])
        every = torch.cat([g.flatten() for g in slopes.values()])
        mean = every.square().mean().sqrt()
        now = scales.square().mean().sqrt() + TINY
        summary = torch.stack([
            torch.zeros_like(now), torch.zeros_like(now), torch.zeros_like(now), mean / (mean + TINY),
            (mean / now).log().tanh(), torch.zeros_like(now), torch.ones_like(now),
        ])  # fmt: skip
        lengths = torch.stack([p.norm() for p in proposals]).log1p() / 3
        coefficients = self.network("tele", None, torch.cat([summary, lengths])[None])[0]
        a = sum(c * p for c, p in zip(coefficients, proposals, strict=True))
        self.weights = self._moved(element(action, self._allowed(action, a) * a, self.design.radius))

    @torch.no_grad()
    def _allowed(self, action, a):
        before, longest = self.tasks.loss(self.weights, self.data), self.design.growth * self._length()
        for part in (1.0, 0.5, 0.25, 0.125):
            there = self._moved(element(action, part * a, self.design.radius))
            changed = (self.tasks.loss(there, self.data) - before).abs()
            length = torch.sqrt(sum(w.square().sum() for w in there.values()))
            if changed <= self.design.tolerance * before.abs() and length <= longest:
                return part
        return 0.0


class Seen:
    """What was seen of the gradients of one tensor."""

    def __init__(self):
        self.mean = self.square = self.last = 0.0
        self.first = self.scale = None

    def features(self, g, step, turned):
        """Of every entry, (entries, 9)."""
        scale = g.square().mean().sqrt()
        before = scale if self.scale is None else self.scale
        self.first = scale if self.first is None else self.first
        self.scale = scale
        self.mean = 0.9 * self.mean + 0.1 * g
        self.square = 0.99 * self.square + 0.01 * g.square()
        mean, square = self.mean / (1 - 0.9 ** (step + 1)), self.square / (1 - 0.99 ** (step + 1))
        x = g / (scale + TINY)
        large = x.abs() >= torch.tensor(-10.0).exp()
        one = torch.ones_like(g)
        columns = [
            torch.where(large, x.abs().clamp_min(TINY).log() / 10, -1.0),
            torch.where(large, x.sign(), torch.tensor(10.0).exp() * x),
            (mean / (scale + TINY)).tanh(),
            mean / (square.sqrt() + TINY),
            g.sign() * self.last,
            turned * one,
            ((scale + TINY) / (before + TINY)).log().tanh() * one,
            ((scale + TINY) / (self.first + TINY)).log() / 10 * one,
            torch.tensor(step + 1.0, dtype=g.dtype).log() / 10 * one,
        ]
        self.last = g.sign()
        return torch.stack(columns, -1).flatten(0, -2)


def twin_losses(meta, tasks, draw, steps, i=0):
    """Of optimizee i of a draw, after every step."""
    at = lambda tensors: {name: t[i].clone() for name, t in tensors.items()}  # noqa: E731
    return Twin(meta, tasks, at(draw.parameters), at(draw.data)).run(steps)


def measured(run):
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(design, batch, rounds):
    """Milliseconds per optimizee step, of both, and the medians of their ratios."""
    torch.manual_seed(0)
    tasks = TwoLayerRegression()
    meta = MetaOptimizer.of(design, tasks)
    draw = tasks.draw(batch)
    adam = torch.optim.Adam(meta.parameters(), 1e-6)
    loop = Loop(meta, tasks, Layout.of(draw.parameters))
    recipe, point = Recipe(batch=batch, unroll=STEPS), loop.begin(draw.parameters)
    first = loop.losses(point.weights, draw.data)

    def together():
        adam.zero_grad()
        backprop(loop, recipe, point, [draw.data] * STEPS, first)
        adam.step()

    def one():
        adam.zero_grad()
        twin_losses(meta, tasks, draw, STEPS).log().mean().backward()
        adam.step()

    together(), one()
    told = [(measured(one), measured(together)) for _ in range(rounds)]
    row = {}
    for i, clock in enumerate(("wall", "processor")):
        row[clock] = {
            "twin_ms": statistics.median(a[i] for a, _ in told) / STEPS * 1e3,
            "ours_ms": statistics.median(b[i] for _, b in told) / STEPS / batch * 1e3,
            "times": statistics.median(batch * a[i] / b[i] for a, b in told),
        }
    return row


def besides(batch, rounds):
    """What evaluation costs, per optimizee step, and one learned teleport, in steps of the update."""
    torch.manual_seed(0)
    tasks = TwoLayerRegression()
    draw, told = tasks.draw(batch), {}
    runs = {name: MetaOptimizer.of(DESIGNS[name], tasks) for name in DESIGNS}
    for name, meta in runs.items():
        measure = lambda meta=meta: measured(lambda: evaluate(meta, tasks, draw, STEPS))[1]  # noqa: E731
        measure()
        told[name] = [measure() for _ in range(rounds)]
    row = {"evaluation_ms": {k: statistics.median(v) / STEPS / batch * 1e3 for k, v in told.items()}}
    plain, jumping = told["coordinate, update"], told["coordinate, update,tele"]
    row["teleport_in_steps"] = statistics.median(
        (b - a) / a * STEPS for a, b in zip(plain, jumping, strict=True)
    )
    return row


def floor(batch, rounds):
    """The arithmetic of the coordinate-wise LSTM alone: milliseconds per optimizee step, FLOPs, and their rate."""
    torch.manual_seed(0)
    tasks = TwoLayerRegression()
    network = MetaOptimizer.of(DESIGNS["coordinate, update"], tasks).part("update").network
    weights = [torch.cat([c.weight_ih, c.weight_hh], 1).detach() for c in network.cells]
    weights.append(network.read.weight.detach())
    rows, block = batch * Layout.of(tasks.draw(1).parameters).size, min(batch, 5) * 800
    shown = [torch.randn(w.shape[1], block) for w in weights]
    out = [torch.randn(len(w), block) for w in weights]
    slopes, below = [torch.zeros_like(w) for w in weights], [torch.zeros_like(z) for z in shown]
    gates, hidden = torch.randn(4 * network.hidden, block), network.hidden

    def products():
        for w, z, y, slope, passed in zip(weights, shown, out, slopes, below, strict=True):
            torch.mm(w, z, out=y)
            torch.mm(y, z.mT, out=slope)
            torch.mm(w.mT, y, out=passed)

    def activations():
        for _ in network.cells:
            gates[: 3 * hidden].sigmoid_()
            gates[3 * hidden :].tanh_(), gates[:hidden].tanh_()

    def timed(run):
        run()
        many = lambda: [run() for _ in range(100)]  # noqa: E731
        return statistics.median(measured(many)[1] for _ in range(rounds)) / 100

    big = torch.randn(2048, 2048)
    spent, of = [timed(f) * rows / block / batch * 1e3 for f in (products, activations)], rows / batch
    flops = 6 * of * sum(w.numel() for w in weights)
    return {
        "products_ms": spent[0],
        "activations_ms": spent[1],
        "mflop": flops / 1e6,
        "gflops": flops / spent[0] / 1e6,
        "peak_gflops": 2 * 2048**3 / min(measured(lambda: big @ big)[1] for _ in range(3)) / 1e9,
    }


def write(rows, found):
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    again = {(row["design"], row["batch"], row["threads"]) for row in rows}
    kept = [r for r in told["rows"] if (r["design"], r["batch"], r["threads"]) not in again]
    machine = {"torch": torch.__version__, "machine": platform.machine(), "steps": STEPS}
    RESULTS.write_text(json.dumps(told | machine | found | {"rows": kept + rows}, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, design in DESIGNS.items():
        for batch in options.batches if options.only in name else ():
            row = {
                "design": name,
                "batch": batch,
                "threads": options.threads,
                **compare(design, batch, options.rounds),
            }
            wall, processor = row["wall"], row["processor"]
            print(
                f"{name:32} {batch:4}  wall {wall['twin_ms']:8.2f} {wall['ours_ms']:8.3f} ms {wall['times']:6.1f} times"
                f"   processor {processor['twin_ms']:8.2f} {processor['ours_ms']:8.3f} ms "
                f"{processor['times']:6.1f} times",
                flush=True,
            )
            if options.json:
                write([row], {})
    found = {"floor": floor(16, options.rounds)} if options.threads == 1 else {}
    if not options.only:
        found["besides"] = besides(16, options.rounds)
    print(json.dumps(found), f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    if options.json:
        write([], found)


if __name__ == "__main__":
    main()
