"""Searches in several threads at once: what belongs to the process stays what it is, and nobody disturbs another."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from finding.searching import settings_of_torch
from isoloss import find
from isoloss.finding._world import Float64World, Plain
from zoo import ZOO

NAMES = ("mlp_dropout_eval", "noise_randn_like", "vae", "mlp_inplace")


def built() -> list:
    """Models and inputs; they are drawn from torch's own generator, which threads share."""
    return [ZOO[name].build() for name in NAMES]


def told(pair) -> str:  # noqa: ANN001
    symmetries = find(*pair, verify="full")
    return f"{symmetries.table}\n{symmetries.notes}"


def test_searches_at_once_find_what_they_find_alone():
    alone, twice = [told(pair) for pair in built()], built() + built()
    before = settings_of_torch() | {"random": torch.get_rng_state().tolist()}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(told, twice))
    assert together == alone * 2
    assert settings_of_torch() | {"random": torch.get_rng_state().tolist()} == before


def test_one_model_can_be_searched_by_two_threads():
    model, inputs = ZOO["mlp_inplace"].build()
    with ThreadPoolExecutor(2) as pool:
        tables = {s.table for s in pool.map(lambda _: find(model, inputs), range(6))}
    assert len(tables) == 1


def test_other_threads_keep_their_dtype_and_their_random_numbers():
    """Control: they do draw while a search runs."""
    models, done, seen = built(), threading.Event(), []

    def search() -> None:
        try:
            for pair in models:
                find(*pair)
        finally:
            done.set()

    torch.manual_seed(7)
    expected = torch.Generator().manual_seed(7)
    thread = threading.Thread(target=search)
    thread.start()
    while not done.is_set() and len(seen) < 100_000:
        seen.append(torch.randn(3))
    thread.join()
    assert len(seen) > 10 and {t.dtype for t in seen} == {torch.float32}
    assert all(torch.equal(t, torch.randn(3, generator=expected)) for t in seen)


def test_the_last_search_to_leave_puts_the_switches_back():
    def now() -> tuple[bool, bool]:
        return torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()

    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        before = now()
        first, second = Plain(), Plain()
        first.__enter__()
        second.__enter__()
        first.__exit__()
        assert now() == (False, False) != before
        second.__exit__()
        assert now() == before == (True, True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2),
        lambda: torch.tensor(0.1),
        lambda: torch.tensor([1.0, 2.0]),
        lambda: torch.full((2,), 1e300),
        lambda: torch.arange(0.0, 1.0, 0.1),
        lambda: torch.linspace(0, 1, 5),
        lambda: torch.randn(3),
        lambda: torch.rand(3),
        lambda: torch.arange(3) / 3,
        lambda: torch.arange(3).sqrt(),
        lambda: torch.arange(3).float(),
        lambda: torch.eye(2, dtype=torch.float32),
        lambda: torch.bernoulli(torch.full((3,), 0.5)),
    ],
)
def test_all_that_is_made_is_float64(make):
    with Float64World():
        made = make()
    assert made.dtype == torch.float64 and torch.get_default_dtype() == torch.float32
    kept = [
        torch.arange(3),
        torch.full((2,), 1),
        torch.full((2,), True),
        torch.randperm(3),
        torch.randint(5, (2,)),
    ]
    with Float64World():
        again = [
            torch.arange(3),
            torch.full((2,), 1),
            torch.full((2,), True),
            torch.randperm(3),
            torch.randint(5, (2,)),
        ]
    assert [t.dtype for t in again] == [t.dtype for t in kept]


NOISE = {
    "randn": lambda x: torch.randn(x.shape),
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "randint_like": lambda x: torch.randint_like(x, 9),
    "randint_like from": lambda x: torch.randint_like(x, 3, 9),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "exponential_": lambda x: torch.empty_like(x).exponential_(),
    "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.5)),
    "multinomial": lambda x: torch.multinomial(torch.ones(50), 20),
    "poisson": lambda x: torch.poisson(torch.full_like(x, 4.0)),
    "randperm": lambda x: torch.randperm(50),
    "rrelu": lambda x: torch.nn.functional.rrelu(-torch.ones_like(x), training=True),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_the_same_in_every_world_and_draws_from_nobody(name):
    def draw() -> list[Tensor]:
        with Float64World():
            return [NOISE[name](torch.zeros(50)) for _ in range(2)]

    before = torch.get_rng_state()
    first, second = draw(), draw()
    assert all(map(torch.equal, first, second)) and not torch.equal(
        *first
    )  # control: it goes on within a world
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_in_training_passes_the_full_check():
    """Every slot matters, in a model whose noise would otherwise differ from pass to pass."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.out = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.inp(x + 0.1 * torch.randn_like(x)).relu())

    model = Noisy()
    symmetries = find(copy.deepcopy(model), torch.randn(4, 3), verify="full")
    assert symmetries.dim == 5 and not symmetries.notes
