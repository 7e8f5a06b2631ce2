"""The unrolled loop written out: one task after another, every formula as the docstrings state it, plain autograd."""

from math import exp, log

import torch
from torch import Tensor
from torch.autograd.functional import jvp

from isoloss.learn.directions import DIRECTIONS

Weights = dict[str, Tensor]


def literal_run(meta, tasks, parameters: Weights, batches: list[Weights], second_order: bool = False):
    """The losses after every step, and the weights at the end, of one optimizee."""
    return _Run(meta, tasks, second_order).walk(parameters, batches)


class _Run:
    def __init__(self, meta, tasks, second_order: bool):
        self.meta, self.design, self.tasks = meta, meta.design, tasks
        self.shown = (lambda t: t) if second_order else (lambda t: t.detach())
        self.memory: dict = {}
        self.gradients: list[Weights] = []  # all that were remembered
        self.velocity: Weights = {}
        self.carried: Weights = {}
        self.lengths: list[Tensor] = []

    def walk(self, w: Weights, batches: list[Weights]):
        w = {name: t.clone().requires_grad_() for name, t in w.items()}
        self.home, losses = norm(w), []
        self.velocity = {name: torch.zeros_like(t) for name, t in w.items()}
        self.carried = {name: torch.ones(()) for name in (*w, "all")}
        for step, data in enumerate(batches):
            if step:
                losses.append(self.tasks.loss(w, data))
            if self.design.jumps(step) and self.design.order == "before":
                old = self.slopes(w, self.gradient(w, data))
                old["length"] = norm(self.gradient(w, data))
                w = self.teleport(w, data, [*self.gradients, self.gradient(w, data)])
                new = self.slopes(w, self.gradient(w, data))
                self.lengths[-1:] = (
                    [self.lengths[-1] * norm(self.gradient(w, data)) / old["length"]] if step else []
                )
                if step:
                    self.carried = {name: c * old[name] / new[name] for name, c in self.carried.items()}
            self.gradients.append(self.gradient(w, data))
            back = -self.turned([flat(g) for g in self.gradients]) * norm(self.gradients[-1])
            long = back / self.lengths[-1] if step else torch.ones(())
            if step and norm(self.gradients[-1]) > 10 * self.lengths[-1]:
                long = norm(self.gradients[-1]) / self.lengths[-1]
            self.carried = {name: c / (long / 2).clamp_min(1) for name, c in self.carried.items()}
            self.lengths.append(norm(self.gradients[-1]))
            move = self.move({name: self.shown(t) for name, t in w.items()})
            w = {name: t + move[name] for name, t in w.items()}
            if self.design.jumps(step) and self.design.order == "after":
                w = self.teleport(w, data, self.gradients)
        losses.append(self.tasks.loss(w, batches[-1]))
        return losses, w

    def gradient(self, w: Weights, data: Weights) -> Weights:
        value = self.tasks.loss(w, data)
        slopes = torch.autograd.grad(value, list(w.values()), create_graph=True)
        return {name: self.shown(t) for name, t in zip(w, slopes, strict=True)}

    def slopes(self, w: Weights, gradient: Weights) -> Weights:
        """Length of the gradient over that of the weights, of every tensor and of all together."""
        w = {name: self.shown(t) for name, t in w.items()}
        each = {name: g.norm() / w[name].norm() for name, g in gradient.items()}
        return each | {"all": norm(gradient) / norm(w)}

    def lstm(self, part: str, x: Tensor) -> Tensor:
        network = self.meta.part(part).network
        for i, cell in enumerate(network.cells):
            self.memory[part, i] = cell(x, self.memory.get((part, i)))
            x = self.memory[part, i][0]
        return network.read(x)

    def move(self, w: Weights) -> Weights:
        gradient, variant, units = self.gradients[-1], self.design.variant, self.design.units
        step = {name: torch.zeros_like(t) for name, t in w.items()}
        first = self.memory.setdefault("first", norm(self.gradients[0]) / norm(w))
        if "update" in variant:
            f = self.update(first)
            step = {name: step[name] + f[name] for name in step}
        if "lr" in variant:
            output = self.lstm("lr", self.of_all(self.gradients))[0, 0]
            if units == "direct":
                rate = self.design.rate * output.sigmoid()
            else:
                level = 0.98 * self.memory.get("level", 0) + 0.2 * output.tanh()
                self.memory["level"] = level
                rate = (level + self.meta.part("lr").log_rate).exp() / first * self.carried["all"]
            step = {name: step[name] - rate * gradient[name] for name in step}
        if "momentum" in variant:
            beta = self.lstm("momentum", self.of_all(self.gradients))[0, 0].sigmoid()
            step = {name: beta * self.velocity[name] + step[name] for name in step}
        if self.design.trust < float("inf"):
            bound = self.design.trust * (self.home + norm(w))
            shrink = bound / (bound**2 + norm(step) ** 2).sqrt()
            step = {name: t * shrink for name, t in step.items()}
        self.velocity = step
        return step

    def update(self, first: Tensor) -> Weights:
        gradient, rate_units = self.gradients[-1], self.design.units == "rate"
        columns = 2 if rate_units else 1
        if self.design.network == "whole":
            outputs = self.lstm("update", self.of_all(self.gradients)).reshape(-1, columns)
        else:
            outputs = self.lstm("update", self.of_coordinates())
        found, at = {}, 0
        for name, g in gradient.items():
            mine = outputs[at : at + g.numel()].reshape(*g.shape, columns)
            at += g.numel()
            if not rate_units:
                found[name] = mine[..., 0]
                continue
            level = 0.98 * self.memory.get(("level", name), 0) + 0.2 * mine[..., 0].tanh()
            self.memory["level", name] = level
            rate = (self.meta.part("update").log_rate + level).exp() / first * self.carried[name]
            found[name] = -rate * (g + rms(g) * mine[..., 1])
        return found

    def of_coordinates(self) -> Tensor:
        """(P, 9), from all the gradients there were."""
        t, rows = len(self.gradients) - 1, []
        turned = self.turned([flat(g) for g in self.gradients])
        for name, g in self.gradients[-1].items():
            past = [other[name] for other in self.gradients]
            scales = [rms(p) for p in past]
            mean, square = averaged(past, 0.9), averaged([p**2 for p in past], 0.99)
            before = scales[t - 1] if t else scales[0]
            one = torch.ones_like(g)
            columns = [
                *log_and_sign(g / scales[t]),
                (mean / scales[t]).tanh(),
                mean / square.sqrt(),
                g.sign() * past[t - 1].sign() if t else 0 * one,
                turned * one,
                (scales[t] / before).log().tanh() * one,
                (scales[t] / scales[0]).log() / 10 * one,
                log(1 + t) / 10 * one,
            ]
            rows.append(torch.stack([c.flatten() for c in columns], 1))
        return torch.cat(rows)

    def turned(self, past: list[Tensor]) -> Tensor:
        """The cosine between the last two of flat gradients, 0 if there is one."""
        if len(past) < 2:
            return torch.zeros_like(past[0][0])
        return past[-1] @ past[-2] / past[-1].norm() / past[-2].norm()

    def of_all(self, gradients: list[Weights]) -> Tensor:
        """(1, features) of the networks that see everything at once."""
        now = gradients[-1]
        if self.design.network == "whole":
            if self.design.raw:
                return flat(now)[None]
            pairs = [torch.stack(log_and_sign(g / rms(g)), -1).flatten() for g in now.values()]
            return torch.cat(pairs)[None]
        t = len(gradients) - 1
        scales = [rms(torch.stack([rms(g) for g in other.values()])) for other in gradients]
        before = scales[t - 1] if t else scales[0]
        past = [flat(g) for g in gradients]
        mean, square = averaged(past, 0.9), averaged([p**2 for p in past], 0.99)
        cosine = self.turned(past)
        size = square.mean().sqrt()
        return torch.stack(
            [
                (scales[t] / before).log().tanh(),
                (scales[t] / scales[0]).log() / 10,
                cosine,
                rms(mean) / size,
                (size / scales[t]).log().tanh(),
                size.new_tensor(log(1 + t) / 10),
                size.new_tensor(exp(-t)),
            ]
        )[None]

    def teleport(self, w: Weights, data: Weights, gradients: list[Weights]) -> Weights:
        elements = self.elements(w, data, gradients)
        before = self.tasks.loss(w, data)
        for part in (1.0, 0.5, 0.25, 0.125):
            there = self.moved(w, data, [part * a for a in elements])
            change = (self.tasks.loss(there, data) - before).abs()
            if change <= self.design.tolerance * before.abs() and norm(there) <= self.design.growth * norm(w):
                break
        else:
            return w
        if self.design.velocity == "push" and "momentum" in self.design.variant:

            def along(*values: Tensor) -> tuple[Tensor, ...]:
                moving = self.moved(dict(zip(w, values, strict=True)), data, [part * a for a in elements])
                return tuple(moving.values())

            _, pushed = jvp(along, tuple(w.values()), tuple(self.velocity.values()), create_graph=True)
            self.velocity = dict(zip(w, pushed, strict=True))
        return there

    def elements(self, w: Weights, data: Weights, gradients: list[Weights]) -> list[Tensor]:
        if self.design.network == "whole":
            outputs, found = self.lstm("tele", self.of_all(gradients))[0], []
            for action in self.tasks.actions:
                size = torch.Size((*action.batch, *action.group.algebra_shape)).numel()
                found.append(action.group.project(outputs[:size].reshape(action.group.algebra_shape)))
                outputs = outputs[size:]
            return found
        here = {name: t.detach() for name, t in w.items()}
        slopes = {name: t.detach() for name, t in self.gradient(w, data).items()}
        proposals = []
        for action in self.tasks.actions:
            ds = [DIRECTIONS[name]() for name in self.design.directions]
            proposals.append(
                [
                    d(action, lambda w: self.tasks.loss(w, data), here, data, slopes).detach()
                    if d.suits(action)
                    else torch.zeros(action.group.algebra_shape, dtype=torch.float64)
                    for d in ds
                ]
            )
        shown = self.of_all(gradients)[0]
        rows = [torch.cat([shown, torch.stack([(1 + a.norm()).log() / 3 for a in p])]) for p in proposals]
        outputs = self.lstm("tele", torch.stack(rows))
        return [
            sum(c * a for c, a in zip(cs, p, strict=True)) for cs, p in zip(outputs, proposals, strict=True)
        ]

    def moved(self, w: Weights, data: Weights, elements: list[Tensor]) -> Weights:
        for action, a in zip(self.tasks.actions, elements, strict=True):
            w = w | action.act(action.group.exp(shrunk(a, self.design.radius)), w, data)
        # What is computed from the moved first layer must not count as a function of it.
        return {name: t.clone() for name, t in w.items()}


def shrunk(a: Tensor, radius: float) -> Tensor:
    if radius == float("inf"):
        return a
    x = a / radius
    if a.dim() == 1:
        return a / (1 + x**16) ** (1 / 16)
    return a / (1 + torch.linalg.matrix_power(x.mT @ x, 8).trace()) ** (1 / 16)


def log_and_sign(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two columns of Andrychowicz et al., Appendix A, p = 10."""
    p = torch.tensor(10.0, dtype=x.dtype)
    large = x.abs() >= (-p).exp()
    floored = torch.where(large, x.abs(), 1.0)
    return torch.where(large, floored.log() / p, -1.0), torch.where(large, x.sign(), p.exp() * x)


def averaged(past: list[Tensor], decay: float) -> Tensor:
    """The weighted mean with weights that fall by the decay for every step back."""
    weights = [decay**k for k in range(len(past))]
    total = sum(weight * x for weight, x in zip(weights, reversed(past), strict=True))
    return total / sum(weights)


def flat(tensors: Weights) -> Tensor:
    return torch.cat([t.flatten() for t in tensors.values()])


def norm(tensors: Weights) -> Tensor:
    return flat(tensors).norm()


def rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
