"""How long the orbit dimension takes at 10,000 parameters, and the spectrum and the flat directions of section 2.8.2.

    python benchmarks/landscape.py            # the table; a minute or two on one core
    python benchmarks/landscape.py --json     # and write benchmarks/results/landscape.json

CPU time, one thread. The bar is 10 s for the orbit dimension of a network of 10,000 parameters.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoloss import find
from isoloss.landscape import flat_directions, least_trace, orbit_dimension, spectrum

RESULTS = Path(__file__).resolve().parent / "results" / "landscape.json"


class Attention(nn.Module):
    """Heads with values and outputs of their own, matrices in each."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Mixed values, a line for each position."""
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2) for f in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(-3, -2).flatten(-2))


def layers(*widths: int, activation: type[nn.Module] = nn.Identity, bias: bool = True) -> nn.Sequential:
    """Linear layers with an activation between them."""
    found: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        found += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*found[:-1])


def convolutions() -> nn.Sequential:
    """Three convolutions and a head."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 40)),
    )


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ReLU 64-70-64-10": (lambda: layers(64, 70, 64, 10, activation=nn.ReLU), (4, 64)),
    "ReLU 1-3333-1": (lambda: layers(1, 3333, 1, activation=nn.ReLU), (4, 1)),
    "convolutions": (convolutions, (2, 3, 12, 12)),
    "attention, width 50, 5 heads": (lambda: Attention(50, 5), (2, 6, 50)),
    "linear 50-100-50": (lambda: layers(50, 100, 50, bias=False), (4, 50)),
    "linear 10-500-10": (lambda: layers(10, 500, 10, bias=False), (4, 10)),
    "linear 50-50-50-50-50": (lambda: layers(50, 50, 50, 50, 50), (4, 50)),
    "linear 10-60-60-60-10": (lambda: layers(10, 60, 60, 60, 10), (4, 10)),
}


def seconds(f: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and the result."""
    start = time.process_time()
    result = f()
    return time.process_time() - start, result


def dimensions() -> dict[str, dict[str, Any]]:
    """Orbit dimensions by the name of the network."""
    found = {}
    for name, (build, shape) in NETS.items():
        torch.manual_seed(0)
        model = build()
        symmetries = find(model, torch.randn(shape))
        took, orbit = seconds(lambda model=model, symmetries=symmetries: orbit_dimension(model, symmetries))
        count = sum(p.numel() for p in model.parameters())
        found[name] = {
            "parameters": count,
            "algebra": orbit.algebra,
            "dimension": orbit.dimension,
            "seconds": round(took, 3),
        }
        print(f"  {name:30}{count:8}{orbit.algebra:10}{orbit.dimension:8}{took:10.2f}", flush=True)
    return found


def minimum() -> dict[str, Any]:
    """Section 2.8.2: U 5 x 50, V 10 x 50, at a minimum."""
    torch.manual_seed(0)
    model = layers(10, 50, 5, bias=False).double()
    x, y = torch.eye(10).double(), torch.randn(10, 5).double()
    with torch.no_grad():
        u, v = model[2].weight, model[0].weight
        u.copy_(u + (y.T - u @ v) @ torch.linalg.pinv(v))
    symmetries = find(model, x)

    def loss() -> Tensor:
        return (model(x) - y).square().sum()

    whole, values = seconds(lambda: spectrum(model, loss))
    compared, flat = seconds(lambda: flat_directions(model, loss, symmetries))
    least, trace = seconds(lambda: least_trace(model, loss, symmetries))
    print(f"  spectrum {whole:.2f} s, flat directions {compared:.2f} s, least trace {least:.2f} s\n  {flat}")
    print(f"  trace {trace.here:.1f}, least on the orbit {trace.value:.1f}")
    return {
        "spectrum_seconds": round(whole, 3),
        "flat_directions_seconds": round(compared, 3),
        "least_trace_seconds": round(least, 3),
        "zeros": flat.zeros,
        "explained": flat.explained,
        "smallest_nonzero": float(values.nonzero().min()),
        "trace": trace.here,
        "least_trace": trace.value,
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"  {'network':30}{'params':>8}{'algebra':>10}{'orbit':>8}{'seconds':>10}")
    found = {"orbit_dimension": dimensions(), "section_2_8_2": minimum()}
    if options.json:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
