"""Training: it learns, goes on where it was, gives up in good order, and says what is wrong."""

import os
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch.testing import assert_close

from isoloss import _files
from isoloss.learn import Design, DivergenceError, Draw, MetaOptimizer, Recipe, meta_train
from isoloss.learn.tasks import DigitsPerceptron, LogisticRegression, TwoLayerRegression
from isoloss.learn.training._progress import CHECKPOINT
from isoloss.learn.training._train import validate
from learn.metas import stirred

REGRESSION = TwoLayerRegression(size=3)
DIGITS = DigitsPerceptron(samples=12, batch=4, hidden=4)
SHORT = Recipe(runs=4, batch=2, horizon=4, unroll=2, validate=2, validation=2)


def fresh(tasks, **design) -> MetaOptimizer:
    torch.manual_seed(7)
    return MetaOptimizer.of(Design(**{"hidden": 3} | design), tasks)


class Interrupt:
    """Presses Ctrl-C after so many runs."""

    def __init__(self, after):
        self.after = after

    def __call__(self, record):
        if record.run + 1 == self.after:
            raise KeyboardInterrupt


RESUMED = {
    "update,tele": (REGRESSION, {"variant": ("update", "tele"), "every": 2}, {}),
    "all": (REGRESSION, {"variant": ("update", "lr", "tele", "momentum")}, {"segment": 1}),
    "minibatches": (DIGITS, {"variant": ("update", "tele")}, {}),
    "evolution": (DIGITS, {"variant": ("lr", "momentum")}, {"estimator": "evolution", "pairs": 2}),
    "published": (
        REGRESSION,
        {"variant": ("update", "tele"), "network": "whole", "raw": True},
        {"validate": 0},
    ),
}


@pytest.mark.parametrize(("name", "after"), [("update,tele", 1), *((name, 3) for name in RESUMED)])
def test_resumed_training_comes_to_the_same_bits(name, after, tmp_path):
    tasks, design, settings = RESUMED[name]
    recipe = replace(SHORT, **settings)
    whole = meta_train(fresh(tasks, **design), tasks, recipe)
    meta = fresh(tasks, **design)
    with pytest.raises(KeyboardInterrupt):
        meta_train(meta, tasks, recipe, out=tmp_path, save_every=2, watch=Interrupt(after))
    # The same object, whose parameters have moved since the last checkpoint, and another one.
    torch.manual_seed(8)
    for other in (meta, MetaOptimizer.of(meta.design, tasks)):
        seen = []
        told = meta_train(other, tasks, recipe, out=tmp_path, save_every=2, watch=seen.append)
        assert told.history == whole.history and told.validation == whole.validation
        for (n, p), (m, q) in zip(told.meta.named_parameters(), whole.meta.named_parameters(), strict=True):
            assert n == m and torch.equal(p, q), n
        if other is meta:
            assert [r.run for r in seen] == list(range(after // 2 * 2, 4)), "only what was missing"
        else:
            assert seen == [], "it was finished"
    assert all(r.norm > 0 for r in whole.history), "there was something to come back to"


def test_a_training_learns():
    """What it minimizes falls, on tasks it has not seen."""
    recipe = Recipe(runs=12, batch=4, horizon=10, unroll=5, lr=0.05, validate=4, validation=8)
    meta = fresh(REGRESSION, variant=("update",))
    drawn = REGRESSION.draw(8, torch.Generator().manual_seed(99))
    before = validate(meta, REGRESSION, recipe, drawn)
    told = meta_train(meta, REGRESSION, recipe)
    after = validate(meta, REGRESSION, recipe, drawn)
    assert before is not None and after is not None and after < before - 0.1
    validations = [r.validation for r in told.history if r.validation is not None]
    assert len(validations) == 3 and told.validation == min(validations)
    assert told.trajectories == 48 and all(r.norm > 0 and r.skipped == 0 for r in told.history)


def test_the_best_parameters_are_kept():
    recipe = Recipe(runs=6, batch=2, horizon=4, unroll=2, lr=0.5, clip=1e3, validate=1, validation=4)
    told = meta_train(fresh(REGRESSION, variant=("lr",)), REGRESSION, recipe)
    from isoloss.learn.training._train import _validation

    drawn = _validation(REGRESSION, recipe)
    assert drawn is not None
    assert validate(told.meta, REGRESSION, recipe, drawn) == told.validation
    measured = [r.validation for r in told.history]
    assert told.validation == min(measured) and told.validation != measured[-1], "a lesser one came last"
    assert not told.untrained


def test_a_training_that_only_does_harm_leaves_the_untrained_parameters():
    """With steps of 10 in every parameter the learning rate leaves all bounds."""
    meta = fresh(REGRESSION, variant=("lr",))
    before = [p.clone() for p in meta.parameters()]
    recipe = Recipe(runs=2, batch=2, horizon=4, unroll=2, lr=10.0, validate=1, validation=4)
    told = meta_train(meta, REGRESSION, recipe)
    measured = [r.validation for r in told.history]
    assert told.untrained and all(v is None or v > told.validation for v in measured)
    assert all(torch.equal(p, old) for p, old in zip(meta.parameters(), before, strict=True))
    assert not meta_train(fresh(REGRESSION), REGRESSION, replace(SHORT, validate=0)).untrained


def test_parts_have_learning_rates_of_their_own():
    recipe = Recipe(runs=1, batch=2, horizon=2, unroll=2, lr=1e-3, part_lr=(("lr", 100.0),), validate=0)
    before = fresh(REGRESSION, variant=("update", "lr"))
    after = meta_train(fresh(REGRESSION, variant=("update", "lr")), REGRESSION, recipe).meta
    moved = {n: (after.part(n).log_rate - before.part(n).log_rate).abs().item() for n in ("update", "lr")}
    # The first step of Adam has the length of its learning rate, float32 of a number near -1.2.
    assert moved["update"] == pytest.approx(1e-3, rel=1e-3) and moved["lr"] == pytest.approx(0.1, rel=1e-3)


# ---- what goes wrong


@dataclass(frozen=True)
class Spoilt:
    """A bowl whose loss is no number, or another, once the weights are far enough from where they started."""

    name: ClassVar[str] = "spoilt"
    value: float = torch.nan
    far: float = 0.5
    actions: tuple = ()

    def draw(self, n, generator=None):
        w = torch.randn(n, 3, generator=generator, dtype=torch.float64)
        return Draw({"w": w}, {"start": w.clone()})

    def minibatch(self, data, generator=None):
        return data

    def loss(self, parameters, data):
        moved = (parameters["w"] - data["start"]).square().sum()
        here = (parameters["w"] - 100).square().sum()
        return here * torch.where(moved > self.far * abs(self.far), self.value, 1.0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("far", [1e-3, 3.0], ids=["at once", "late"])
def test_a_training_whose_losses_break_is_given_up(value, far, tmp_path):
    """Also where the first stretches of every run are good; what was saved last stays and can be read."""
    tasks = Spoilt(value, far)
    recipe = Recipe(runs=40, batch=2, horizon=20, unroll=2, patience=3, validate=0)
    told = []
    with pytest.raises(
        DivergenceError, match=rf"3 runs or updates in a row .* run 3 of 40; .* in {tmp_path}; lower"
    ):
        meta_train(
            fresh(tasks, variant=("lr",)), tasks, recipe, out=tmp_path, save_every=1, watch=told.append
        )
    assert [r.meta_loss for r in told] == [None] * 3 and (told[0].norm > 0) == (far > 1)
    with pytest.raises(DivergenceError, match="no checkpoint was asked for"):
        meta_train(fresh(tasks, variant=("lr",)), tasks, recipe)


def test_the_last_good_checkpoint_stays(tmp_path):
    """Runs are good for a while, then all break: training goes on from the last good one when the tasks are mended."""
    good = Spoilt(far=torch.inf)
    recipe = Recipe(runs=8, batch=2, horizon=4, unroll=2, patience=2, validate=0)
    watch = Interrupt(4)
    with pytest.raises(KeyboardInterrupt):
        meta_train(fresh(good, variant=("lr",)), good, recipe, out=tmp_path, save_every=1, watch=watch)
    saved = (tmp_path / CHECKPOINT).read_bytes()
    original = Spoilt.loss
    patch = pytest.MonkeyPatch()
    patch.setattr(Spoilt, "loss", lambda self, w, d: original(replace(self, far=1e-3), w, d))
    with pytest.raises(DivergenceError, match=f"up to run 5 of 8; the last good checkpoint is in {tmp_path}"):
        meta_train(fresh(good, variant=("lr",)), good, recipe, out=tmp_path, save_every=1)
    patch.undo()
    assert (tmp_path / CHECKPOINT).read_bytes() == saved
    whole = meta_train(fresh(good, variant=("lr",)), good, recipe)
    rest = meta_train(fresh(good, variant=("lr",)), good, recipe, out=tmp_path)
    assert rest.history == whole.history and len(rest.history) == 8


def test_a_single_bad_run_is_forgiven(tmp_path):
    calls = {"draws": 0}

    class Once(Spoilt):
        def draw(self, n, generator=None):
            calls["draws"] += 1
            drawn = super().draw(n, generator)
            # Making the network draws once, and the checks four times; the second and fourth run are bad.
            bad = calls["draws"] in (7, 9)
            drawn.data["far"] = torch.full((n,), 1e-3 if bad else torch.inf, dtype=torch.float64)
            return drawn

        def loss(self, parameters, data):
            moved = (parameters["w"] - data["start"]).square().sum()
            return super().loss(parameters, data) * torch.where(moved > data["far"] ** 2, torch.nan, 1.0)

    tasks = Once(far=torch.inf)
    recipe = Recipe(runs=5, batch=2, horizon=4, unroll=2, patience=2, validate=0)
    told = meta_train(fresh(tasks, variant=("lr",)), tasks, recipe, out=tmp_path)
    assert [r.meta_loss is None for r in told.history] == [False, True, False, True, False]
    assert all(p.isfinite().all() for p in told.meta.parameters())


@dataclass(frozen=True)
class Kinked(Spoilt):
    """One weight stays at 0, where the loss has a slope of 0 and no second derivative."""

    def draw(self, n, generator=None):
        drawn = super().draw(n, generator)
        drawn.parameters["w"][:, 0] = 0
        return drawn

    def loss(self, parameters, data):
        return (parameters["w"][1:] - 100).square().sum() + parameters["w"][0].abs() ** 1.5


def test_updates_whose_gradient_is_no_number_are_left_out():
    tasks = Kinked()
    meta = fresh(tasks, variant=("lr",))
    before = {n: p.clone() for n, p in meta.named_parameters()}
    recipe = Recipe(
        runs=40, batch=2, horizon=2, unroll=2, patience=4, validate=0, second_order=True, limit=float("inf")
    )
    told = []
    with pytest.raises(DivergenceError, match="4 runs or updates in a row were not, up to run 4 of 40"):
        meta_train(meta, tasks, recipe, watch=told.append)
    assert [r.skipped for r in told] == [1] * 4
    assert all(torch.equal(p, before[n]) for n, p in meta.named_parameters())


def test_a_published_optimizer_with_huge_outputs_diverges():
    tasks = TwoLayerRegression(size=3)
    meta = MetaOptimizer.of(replace(Design.published("update", "tele"), hidden=4), tasks)
    with torch.no_grad():
        meta.part("update").network.read.bias.fill_(1e38)
        for p in meta.part("tele").network.read.parameters():
            p.fill_(1e4)
    recipe = Recipe.published(30, horizon=4, unroll=2, patience=3)
    with pytest.raises(
        DivergenceError, match="losses or meta-gradients must be finite; 3 runs or updates in a row"
    ):
        meta_train(meta, tasks, recipe)
    assert all(p.isfinite().all() for p in meta.parameters())


def test_the_logarithm_of_a_negative_loss_is_refused():
    log, value = (replace(SHORT, runs=1, objective=kind, validate=0) for kind in ("log", "value"))
    below = Spoilt(value=-1.0, far=-1.0)
    with pytest.raises(
        ValueError, match=r"losses that are not negative; got -.* on spoilt; choose objective='value'"
    ):
        meta_train(fresh(below, variant=("lr",)), below, log)
    meta_train(fresh(below, variant=("lr",)), below, value)
    # Negative from the first step on only.
    later = Spoilt(value=-1.0, far=1e-3)
    with pytest.raises(ValueError, match="losses that are not negative; got -"):
        meta_train(fresh(later, variant=("lr",)), later, log)


def test_wrong_trainings_are_told(tmp_path):
    logistic = LogisticRegression(samples=12)
    coordinate = fresh(REGRESSION)
    with pytest.raises(
        ValueError, match="meta_train: tele needs tasks with an action; logistic has none; leave"
    ):
        meta_train(coordinate, logistic, SHORT)
    whole = fresh(REGRESSION, variant=("update",), network="whole")
    with pytest.raises(ValueError, match="fit one optimizee; got"):
        meta_train(whole, logistic, SHORT)

    class Empty(TwoLayerRegression):
        def draw(self, n, generator=None):
            return Draw({}, {})

    with pytest.raises(ValueError, match="an optimizee must have parameters; got none"):
        meta_train(coordinate, Empty(size=3), SHORT)
    with pytest.raises(
        ValueError, match="meta_train: save_every must be a whole number of at least 1; got 0"
    ):
        meta_train(coordinate, REGRESSION, SHORT, save_every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="meta_train: out must be a folder"):
        meta_train(coordinate, REGRESSION, SHORT, out=tmp_path / "file")


# ---- checkpoints


@pytest.fixture
def interrupted(tmp_path):
    meta = fresh(REGRESSION)
    with pytest.raises(KeyboardInterrupt):
        meta_train(meta, REGRESSION, SHORT, out=tmp_path, save_every=1, watch=Interrupt(3))
    return tmp_path


def corrupt(path, kind):
    from safetensors.torch import load_file, save_file

    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("{}")
    elif kind == "no metadata":
        save_file(load_file(path), path)
    elif kind == "no json":
        save_file(load_file(path), path, metadata={"isoloss": "{"})
    elif kind == "another format":
        save_file(load_file(path), path, metadata={"isoloss": '{"version": 1}'})
    elif kind == "a list":
        save_file(load_file(path), path, metadata={"isoloss": "[1, 2]"})


@pytest.mark.parametrize(
    "kind", ["cut", "empty", "text", "no metadata", "no json", "another format", "a list"]
)
def test_what_is_no_checkpoint_is_refused(kind, interrupted):
    path = interrupted / CHECKPOINT
    corrupt(path, kind)
    left = path.read_bytes()
    meta = fresh(REGRESSION)
    before = [p.clone() for p in meta.parameters()]
    with pytest.raises(
        ValueError, match="meta_train: the checkpoint must be one that training wrote; got .*; delete"
    ):
        meta_train(meta, REGRESSION, SHORT, out=interrupted)
    assert path.read_bytes() == left and all(map(torch.equal, meta.parameters(), before))


FOREIGN = {
    "design": (fresh, {"radius": 1.0}, REGRESSION, SHORT, "differs in design; train in another folder"),
    "recipe": (fresh, {}, REGRESSION, replace(SHORT, lr=1.0), "differs in recipe;"),
    "tasks": (fresh, {}, TwoLayerRegression(size=3, slope=0.2), SHORT, "differs in tasks;"),
    "both": (fresh, {}, TwoLayerRegression(size=2), replace(SHORT, seed=1), "differs in recipe, tasks;"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_of_another_training_is_refused(kind, interrupted):
    make, design, tasks, recipe, message = FOREIGN[kind]
    with pytest.raises(ValueError, match="a checkpoint continues the training that wrote it; .*" + message):
        meta_train(make(tasks, **design), tasks, recipe, out=interrupted)
    told = meta_train(make(tasks, **design), tasks, recipe, out=interrupted, resume=False)
    assert [r.run for r in told.history] == [0, 1, 2, 3]


def test_a_meta_optimizer_of_another_dtype_is_refused(interrupted):
    with pytest.raises(ValueError, match="continues the meta-optimizer that wrote it; .* has another parts"):
        meta_train(fresh(REGRESSION).double(), REGRESSION, SHORT, out=interrupted)


def test_tasks_of_users_are_the_same_wherever_they_lie(tmp_path):
    """The default repr of an object holds its address."""

    class Mine(Spoilt):
        __repr__ = object.__repr__

    one, other = Mine(far=torch.inf), Mine(far=torch.inf)
    assert repr(one) != repr(other)
    with pytest.raises(KeyboardInterrupt):
        meta_train(fresh(one, variant=("lr",)), one, SHORT, out=tmp_path, watch=Interrupt(2), save_every=1)
    seen = []
    meta_train(fresh(other, variant=("lr",)), other, SHORT, out=tmp_path, watch=seen.append)
    assert [r.run for r in seen] == [1, 2, 3]


@pytest.mark.parametrize("where", ["fdopen", "replace"])
def test_an_interrupt_while_writing_leaves_the_old_one(where, interrupted, monkeypatch):
    path = interrupted / CHECKPOINT
    old = path.read_bytes()

    def press(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.os, where, press)
    with pytest.raises(KeyboardInterrupt):
        meta_train(fresh(REGRESSION), REGRESSION, SHORT, out=interrupted, save_every=1)
    monkeypatch.undo()
    assert path.read_bytes() == old and os.listdir(interrupted) == [CHECKPOINT]
    told = meta_train(fresh(REGRESSION), REGRESSION, SHORT, out=interrupted)
    assert told.history == meta_train(fresh(REGRESSION), REGRESSION, SHORT).history
    assert_close(told.validation, min(r.validation for r in told.history if r.validation is not None))


def test_nothing_global_is_touched():
    """Training draws from generators of its own; and evaluates the meta-optimizer that it was given."""
    meta = stirred(REGRESSION, torch.float32)
    before = torch.get_rng_state()
    told = meta_train(meta, REGRESSION, SHORT)
    assert torch.equal(before, torch.get_rng_state()) and told.meta is meta
