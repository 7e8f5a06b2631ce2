"""The objective as the dissertation writes it: one sample and one generator after another, Jacobians formed."""

import torch
from torch.autograd.functional import jacobian


def jacobians(here):
    """D_theta L, (d, p), of each sample."""
    one = here.losses.one
    return [jacobian(lambda t, x=x: one(t, x), theta) for theta, x in zip(here.theta, here.x, strict=True)]


def move(here, g, theta, x):
    """a_X(g, theta) of one sample."""
    return here.action(g, theta[None], x[None])[0]


def directions(here):
    """D_g a_X|_{I, theta}(h), (n, k, p)."""
    one = torch.eye(here.action.size, dtype=torch.float64)
    found = []
    for theta, x in zip(here.theta, here.x, strict=True):
        by_g = jacobian(lambda g, theta=theta, x=x: move(here, g, theta, x), one, create_graph=True)
        found.append(torch.stack([(by_g * h).sum((1, 2)) for h in here.h]))
    return torch.stack(found)


def invariance(here, beta):
    parts = [
        (j @ v).abs().mean() for j, vs in zip(jacobians(here), directions(here), strict=True) for v in vs
    ]
    return torch.stack(parts).mean()


def identity(here, beta):
    one = torch.eye(here.action.size, dtype=torch.float64)
    pairs = zip(here.theta, here.x, strict=True)
    return torch.stack([(move(here, one, theta, x) - theta).norm() for theta, x in pairs]).mean()


def associativity(here, beta):
    """Each generator with the next, the last with the first."""
    one = torch.eye(here.action.size, dtype=torch.float64)
    vs, k, parts = directions(here), len(here.h), []
    for i in range(k):
        j = (i + 1) % k
        for n, (theta, x) in enumerate(zip(here.theta, here.x, strict=True)):
            by_theta = jacobian(lambda t, x=x: move(here, one, t, x), theta, create_graph=True)
            by_g = jacobian(lambda g, theta=theta, x=x: move(here, g, theta, x), one, create_graph=True)
            both = (by_g * (here.h[i] + here.h[j])).sum((1, 2))
            parts.append((by_theta @ vs[n, i] + vs[n, j] - both).norm())
    return torch.stack(parts).mean()


def norm(here, beta):
    return torch.stack([(beta - v.norm()).abs() for vs in directions(here) for v in vs]).mean()


def orthogonality(here, beta):
    h, total = here.h, torch.zeros((), dtype=torch.float64)
    for i in range(len(h)):
        for j in range(i + 1, len(h)):
            total = total + (h[i] * h[j]).sum() / (h[i].norm() * h[j].norm())
    return total


def sparsity(here, beta):
    return torch.stack([entry.abs() for entry in here.h.flatten()]).sum()


def independence(here, beta):
    vs, total = directions(here), torch.zeros((), dtype=torch.float64)
    for i in range(len(here.h)):
        for j in range(i + 1, len(here.h)):
            cosines = torch.stack([(v[i] @ v[j]).square() for v in vs]).mean()
            lengths = torch.stack([(v[i] @ v[i]) * (v[j] @ v[j]) for v in vs]).mean()
            total = total + cosines / lengths
    return total


def relative_invariance(here, beta):
    """tr G^-1 A / k."""
    p, k = here.theta.shape[1], len(here.h)
    gram, changes = torch.zeros(2, k, k, dtype=torch.float64)
    for j, v in zip(jacobians(here), directions(here), strict=True):
        slope = p**0.5 * j / j.norm() @ v.mT
        gram, changes = gram + v @ v.mT, changes + slope.mT @ slope
    return torch.linalg.inv(gram).mul(changes.mT).sum() / k


TERMS = {
    "invariance": invariance, "identity": identity, "associativity": associativity, "norm": norm,
    "orthogonality": orthogonality, "sparsity": sparsity, "independence": independence,
    "relative_invariance": relative_invariance,
}  # fmt: skip
