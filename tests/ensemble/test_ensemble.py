"""An ensemble is its members: outputs, gradients, training, files, whatever the model is made of."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from ensemble.nets import CASES, LOOPED, Branching, Tied, built, convolutional, perceptron, shaken
from isoloss.ensemble import Ensemble

# Batched products add in another order: some 100 roundings of numbers of order 1 to 10.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def exactly(a, b):
    assert_close(a, b, rtol=0, atol=0)


# torch loops inside vmap over what it has no rule for, and says so
SLOW = "ignore:There is a performance drop"


@pytest.mark.filterwarnings(SLOW)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("evaluation", ["auto", "vmap", "recorded", "loop"])
def test_outputs_are_those_of_the_models(name, evaluation):
    model, args, kwargs = built(name)
    models = shaken(model, 3)
    ensemble = Ensemble.of(models, evaluation=evaluation)
    expected = torch.stack([m(*args, **kwargs) for m in models])
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    for _ in range(3):  # met, recorded, replayed
        assert_close(ensemble.outputs(*args, **kwargs), expected, **CLOSE)


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("evaluation", ["vmap", "recorded"])
def test_chunks_change_nothing(chunk, evaluation):
    model, args, _ = built("convolution_batchnorm")
    models = shaken(model, 5)
    whole = Ensemble.of(models).outputs(*args)
    assert_close(Ensemble.of(models, chunk=chunk, evaluation=evaluation).outputs(*args), whole, **CLOSE)


def test_one_member_and_equal_members():
    model, args, _ = built("perceptron")
    assert_close(Ensemble.of([model])(*args), model(*args), **CLOSE)
    assert_close(Ensemble.of([model, model])(*args), model(*args), **CLOSE)


def test_what_all_share_is_held_and_computed_once():
    model, args, _ = built("perceptron")
    moved = [{"4.weight": model[4].weight + i} for i in range(3)]
    ensemble = Ensemble(model, moved)
    shapes = {n: tuple(p.shape) for n, p in ensemble.net.named_parameters()}
    assert shapes["4.weight"] == (3, 2, 4) and shapes["0.weight"] == (5, 3)
    seen = []
    ensemble.net[3].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    ensemble.outputs(*args)
    assert seen == [(6, 4)]
    # under vmap shapes are those of one member; that the shared layer is no batch of three shows in the record
    from torch._C._functorch import is_batchedtensor

    ensemble.net[3].register_forward_hook(lambda m, i, output: seen.append(is_batchedtensor(output)))
    ensemble.net[4].register_forward_hook(lambda m, i, output: seen.append(is_batchedtensor(output)))
    ensemble.outputs(*args)
    assert seen[-2:] == [False, True]


# ---------------------------------------------------------------- means and votes


def test_means_are_those_of_the_definition():
    model, args, _ = built("perceptron")
    models = shaken(model, 4)
    outputs = [m(*args) for m in models]
    assert_close(Ensemble.of(models)(*args), sum(outputs) / 4, **CLOSE)
    probabilities = sum(y.softmax(-1) for y in outputs) / 4
    assert_close(Ensemble.of(models, mean="probabilities")(*args).exp(), probabilities, **CLOSE)


def voters(*choices):
    """Linear models without inputs: each chooses one of three classes, with its own confidence."""
    model = nn.Linear(1, 3).double()
    members = []
    for choice, confidence in choices:
        bias = torch.zeros(3).double()
        bias[choice] = confidence
        members.append({"weight": torch.zeros(3, 1).double(), "bias": bias})
    return Ensemble(model, members)


def test_the_mode_is_not_the_mean():
    ensemble, x = voters((0, 1.0), (0, 1.0), (2, 9.0)), torch.ones(2, 1).double()
    exactly(ensemble.votes(x), torch.tensor([[2, 0, 1]] * 2))
    exactly(ensemble.predict(x), torch.tensor([0, 0]))
    exactly(ensemble.predict(x, by="mean"), torch.tensor([2, 2]))


def test_the_first_of_the_classes_that_tie_wins():
    ensemble = voters((2, 1.0), (1, 1.0), (2, 1.0), (1, 1.0))
    exactly(ensemble.predict(torch.ones(1, 1).double()), torch.tensor([1]))


def test_classes_may_lie_on_any_axis():
    model = nn.Conv1d(2, 3, 1).double()
    models, x = shaken(model, 3), torch.randn(4, 2, 5).double()
    ensemble = Ensemble.of(models, classes=1, mean="probabilities")
    chosen = torch.stack([m(x).argmax(1) for m in models])
    exactly(ensemble.predict(x), chosen.mode(0).values)
    votes = torch.stack([(chosen == c).sum(0) for c in range(3)], 1)
    exactly(ensemble.votes(x), votes)
    mean = torch.stack([m(x).softmax(1) for m in models]).mean(0)
    assert_close(ensemble(x).exp(), mean, **CLOSE)


@pytest.mark.parametrize("evaluation", ["auto", "vmap", "recorded", "loop"])
def test_the_gradient_of_the_mean_is_the_mean_of_the_gradients(evaluation):
    model, (x,), _ = built("perceptron")
    models = shaken(model, 4)
    direction = torch.randn(6, 2).double()

    def gradient(f):
        z = x.clone().requires_grad_()
        (f(z) * direction).sum().backward()
        return z.grad

    expected = sum(gradient(m) for m in models) / 4
    assert_close(gradient(Ensemble.of(models, evaluation=evaluation)), expected, **CLOSE)


@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
def test_training_the_ensemble_trains_every_member_as_if_alone(evaluation):
    """The sum of the members' losses has for gradient each member's own."""
    model, (x,), _ = built("perceptron")
    models, y = shaken(model.train(), 3), torch.randint(2, (6,))
    ensemble = Ensemble.of(models, evaluation=evaluation)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in models]
    together = torch.optim.SGD(ensemble.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for m, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            cross_entropy(m(x), y).backward()
            optimizer.step()
        together.zero_grad()
        sum(cross_entropy(z, y) for z in ensemble.outputs(x)).backward()
        together.step()
    for m, member in zip(models, ensemble, strict=True):
        for a, b in zip(m.parameters(), member.parameters(), strict=True):
            assert_close(b, a, **CLOSE)


# ---------------------------------------------------------------- modes: dropout and statistics


def test_statistics_in_training_mode_are_those_of_each_member():
    models = shaken(convolutional().double(), 3)
    ensemble = Ensemble.of(models).train()
    x = torch.randn(6, 2, 8, 8).double()
    expected = torch.stack([m.train()(x) for m in models])
    assert_close(ensemble.outputs(x), expected, **CLOSE)
    for m, member in zip(models, ensemble, strict=True):
        for name, b in m.named_buffers():
            assert_close(dict(member.named_buffers())[name], b, **CLOSE)


def test_shared_statistics_cannot_be_trained_but_for_the_asking():
    model, x = convolutional().double(), torch.randn(6, 2, 8, 8).double()
    moved = [{"0.weight": model[0].weight.detach() + i} for i in range(2)]
    with pytest.raises(ValueError, match=r"eval\(\) or own="):
        Ensemble(model, moved).train().outputs(x)
    Ensemble(model, moved).eval().outputs(x)
    ensemble = Ensemble(model, moved, own=["1"]).train()
    ensemble.outputs(x)
    means = [member[1].running_mean for member in ensemble]
    assert (means[0] - means[1]).abs().max() > 1e-3


def test_dropout_is_one_mask_per_member_or_one_for_all():
    model = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5), nn.Linear(50, 1)).double().train()
    x = torch.randn(1, 3).double()
    equal = [dict(model.named_parameters())] * 4

    def spread(**options):
        return Ensemble(model, equal, **options).outputs(x).flatten().std()

    assert spread(randomness="different") > 1e-3
    assert spread(randomness="same") < 1e-12
    assert spread(randomness="different", evaluation="recorded") > 1e-3
    with pytest.raises(ValueError, match="randomness"):
        spread(randomness="error")
    quiet = Ensemble(model, equal).eval()
    assert not any(m.training for m in quiet.modules())
    assert quiet.outputs(x).flatten().std() < 1e-12


def test_a_record_sees_new_weights_modes_dtypes_and_shapes():
    model, (x,), _ = built("perceptron")
    ensemble = Ensemble.of(shaken(model, 3), evaluation="recorded")

    def check(x):
        expected = torch.stack([m(x) for m in ensemble])
        size = 1e4 * torch.finfo(x.dtype).eps  # hundreds of roundings of numbers of order 10
        assert_close(ensemble.outputs(x), expected, rtol=size, atol=size)

    check(x)
    with torch.no_grad():
        ensemble.net[0].weight.mul_(2.0)
    check(x)
    ensemble.load_state_dict({k: v + 1 for k, v in ensemble.state_dict().items()})
    check(x)
    check(x[:2])
    ensemble.float()
    check(x.float())
    assert copy.deepcopy(ensemble).outputs(x.float()).shape == (3, 6, 2)


# ---------------------------------------------------------------- members, files


@pytest.mark.filterwarnings(SLOW)
@pytest.mark.parametrize("name", [*CASES, *LOOPED])
def test_a_member_is_an_ordinary_model(name):
    model, args, kwargs = built(name)
    models = shaken(model, 3)
    ensemble = Ensemble.of(models, evaluation="loop" if name in LOOPED else "vmap")
    assert len(ensemble) == 3 and len(list(ensemble)) == 3
    member = ensemble[-1]
    assert type(member) is type(model)
    exactly(member(*args, **kwargs), models[-1](*args, **kwargs))
    fresh = built(name)[0]
    fresh.load_state_dict(ensemble.member_state_dict(1))
    exactly(fresh(*args, **kwargs), models[1](*args, **kwargs))
    before = ensemble.outputs(*args, **kwargs)
    with torch.no_grad():
        for p in member.parameters():
            p.zero_()
    exactly(ensemble.outputs(*args, **kwargs), before)
    with pytest.raises(IndexError, match="a member is counted from 0; got 3 of 3"):
        ensemble[3]


def test_tied_weights_stay_tied():
    model = Tied().double()
    ensemble = Ensemble.of(shaken(model, 2))
    assert ensemble.net.head.weight is ensemble.net.table.weight
    member = ensemble[0]
    assert member.head.weight is member.table.weight
    assert len(list(ensemble.parameters())) == len(list(model.parameters()))


def test_state_dict_and_dtype():
    model, args, _ = built("convolution_batchnorm")
    one, other = Ensemble.of(shaken(model, 3)), Ensemble.of(shaken(model, 3))
    other.load_state_dict(one.state_dict())
    exactly(other.outputs(*args), one.outputs(*args))
    assert one.float().outputs(args[0].float()).dtype == torch.float32
    assert one[0][0].weight.dtype == torch.float32


@pytest.mark.parametrize("evaluation", ["vmap", "recorded"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_are_apart(again, evaluation):
    model, args, kwargs = built("tied")
    ensemble = Ensemble.of(shaken(model, 3), evaluation=evaluation)
    before = ensemble.outputs(*args, **kwargs)
    twin = again(ensemble)
    exactly(twin.outputs(*args, **kwargs), before)
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(2.0)
    assert not torch.equal(twin.outputs(*args, **kwargs), before)
    exactly(ensemble.outputs(*args, **kwargs), before)


@pytest.mark.parametrize("name", ["perceptron", "convolution_batchnorm", "tied"])
def test_files(name, tmp_path):
    model, args, kwargs = built(name)
    ensemble = Ensemble.of(shaken(model, 3), mean="probabilities", agree=True)
    ensemble.save(tmp_path / "e.safetensors")
    again = Ensemble.load(tmp_path / "e.safetensors", built(name)[0])
    exactly(again(*args, **kwargs), ensemble(*args, **kwargs))
    assert again.mean == "probabilities" and again.agree
    with pytest.raises(ValueError, match="architecture that was saved"):
        Ensemble.load(tmp_path / "e.safetensors", perceptron(4, 5, 2))


def test_files_that_hold_no_ensemble(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    for name in "ab":
        with pytest.raises(ValueError, match="Ensemble.load"):
            Ensemble.load(tmp_path / f"{name}.safetensors", perceptron(4, 5, 2))


# ---------------------------------------------------------------- when the default may replay


class Counting(nn.Module):
    """Counts its calls, which a replay would not."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


def replays(ensemble, x, calls=3):
    """How many of some further calls run no module."""
    ran = []
    run = ensemble._one
    ensemble._one = lambda *a: (ran.append(1), run(*a))[1]
    with torch.no_grad():
        for _ in range(calls):
            ensemble.outputs(x)
    ensemble._one = run
    return calls - len(ran)


def test_the_default_replays_from_the_third_call():
    model, (x,), _ = built("perceptron")
    assert replays(Ensemble.of(shaken(model.eval(), 3)), x, 5) == 3
    assert replays(Ensemble.of(shaken(model.eval(), 3), evaluation="vmap"), x, 5) == 0
    assert replays(Ensemble.of(shaken(model.eval(), 3)).train(), x, 5) == 0


def test_modules_of_unknown_code_are_run_every_time():
    model = nn.Sequential(nn.Linear(3, 4), Counting()).double().eval()
    ensemble = Ensemble.of(shaken(model, 3))
    before = ensemble.net[1].calls
    for _ in range(4):
        ensemble.outputs(torch.randn(2, 3).double())
    assert ensemble.net[1].calls == before + 4


def test_hooks_run_every_time_and_transforms_see_no_recording():
    model, (x,), _ = built("perceptron")
    ensemble, seen = Ensemble.of(shaken(model.eval(), 3)), []
    for _ in range(3):
        ensemble.outputs(x)
    handle = ensemble.net[0].register_forward_hook(lambda *_: seen.append(1))
    for _ in range(3):
        ensemble.outputs(x)
    assert len(seen) == 3
    handle.remove()
    rows = torch.func.vmap(lambda row: ensemble.outputs(row[None]))(x)[:, :, 0].movedim(0, 1)
    assert_close(rows, ensemble.outputs(x), **CLOSE)


def test_changed_settings_are_not_replayed():
    model = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.1), nn.Linear(4, 2)).double().eval()
    ensemble, x = Ensemble.of(shaken(model, 3)), torch.randn(5, 3).double()
    for _ in range(3):
        before = ensemble.outputs(x)
    ensemble.net[1].negative_slope = 0.9
    expected = torch.stack([m(x) for m in ensemble])
    for _ in range(3):
        assert_close(ensemble.outputs(x), expected, **CLOSE)
    assert (before - expected).abs().max() > 1e-3


def test_recordings_are_told_apart_by_autocast():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()
    ensemble, x = Ensemble.of(shaken(model, 3), evaluation="recorded"), torch.randn(5, 3)
    for cast in (True, False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            assert ensemble.outputs(x).dtype == (torch.bfloat16 if cast else torch.float32)


def test_under_autocast_the_default_does_not_change_from_call_to_call():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()
    ensemble, x = Ensemble.of(shaken(model, 3)), torch.randn(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = [ensemble.outputs(x) for _ in range(4)]
    for y in outputs[1:]:
        exactly(y, outputs[0])


# ---------------------------------------------------------------- refusals


def test_what_vmap_cannot_run_is_named_and_runs_in_a_loop():
    models, x = shaken(Branching().double(), 3), torch.randn(4, 3).double()
    for evaluation in ("vmap", "recorded"):
        with pytest.raises(ValueError, match=r"Ensemble: torch\.vmap must .* Branching.*evaluation='loop'"):
            Ensemble.of(models, evaluation=evaluation).eval().outputs(x)
    looped = Ensemble.of(models, evaluation="loop").outputs(x)
    exactly(looped, torch.stack([m(x) for m in models]))


@pytest.mark.parametrize("name", LOOPED)
def test_recurrent_layers_of_torch_run_in_a_loop(name):
    model, args, kwargs = built(name)
    models = shaken(model, 3)
    with pytest.raises(ValueError, match="evaluation='loop'"):
        Ensemble.of(models).outputs(*args, **kwargs)
    expected = torch.stack([m(*args, **kwargs) for m in models])
    exactly(Ensemble.of(models, evaluation="loop").outputs(*args, **kwargs), expected)


def test_an_error_of_the_model_is_raised_as_such():
    ensemble = Ensemble.of(shaken(perceptron(3, 5, 2), 2))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        ensemble.outputs(torch.randn(4, 7).double())


class Wordy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return {"logits": self.layer(x), "words": "many"}


def test_outputs_that_are_no_tensor():
    models, x = shaken(Wordy(), 2), torch.randn(4, 3)
    with pytest.raises(TypeError, match="got dict; pick it by output="):
        Ensemble.of(models)(x)
    picked = Ensemble.of(models, output=lambda y: y["logits"])
    assert_close(picked.outputs(x)[1], models[1](x)["logits"])


def legacy():
    layer = nn.Linear(2, 2)
    layer.extra = layer.weight * 2
    return layer


REFUSED = {
    "no member": (lambda: Ensemble(nn.Linear(2, 2), []), "at least one member"),
    "no model": (lambda: Ensemble.of([]), "at least one model"),
    "no tensors": (lambda: Ensemble(nn.ReLU(), [{}]), "must have parameters"),
    "strange name": (lambda: Ensemble(nn.Linear(2, 2), [{"w": torch.ones(2)}]), "got 'w' in member 0"),
    "other shape": (lambda: Ensemble.of([nn.Linear(2, 2), nn.Linear(3, 2)]), "one architecture"),
    "mean": (lambda: Ensemble.of([nn.Linear(2, 2)], mean="median"), "mean must be one of"),
    "evaluation": (lambda: Ensemble.of([nn.Linear(2, 2)], evaluation="x"), "evaluation must be"),
    "randomness": (lambda: Ensemble.of([nn.Linear(2, 2)], randomness="x"), "randomness must be"),
    "chunk": (lambda: Ensemble.of([nn.Linear(2, 2)], chunk=0), "chunk must be"),
    "own": (lambda: Ensemble.of([nn.Linear(2, 2)], own=["b"]), "own= names"),
    "by": (lambda: Ensemble.of([nn.Linear(2, 2)]).predict(torch.ones(1, 2), by="x"), "by must be"),
    "not copied": (lambda: Ensemble.of([legacy()]), "deepcopy"),
    "no classes": (
        lambda: Ensemble.of([nn.Linear(2, 2)], output=lambda y: y.sum()).predict(torch.ones(1, 2)),
        "number per class",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_to_do(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()
