"""The symmetries of a model: moving it in place, choosing among them, writing elements to disk."""

import copy
import gc
import json
import pickle
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Orthogonal, Permutation, PositiveScaling, SignFlip, Translation
from isoloss.symmetry import Block, Frame, Operand, Shift, Slot, Symmetries, Symmetry, named_tensors


class Net(nn.Module):
    """ReLU units, then a linear path, then a stream through a weighted RMSNorm."""

    def __init__(self, h: int = 5) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, h), nn.Linear(h, 4)
        self.c, self.norm, self.d = nn.Linear(4, 6, bias=False), nn.RMSNorm(6, eps=1e-3), nn.Linear(6, 2)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.norm(self.c(self.b(F.relu(self.a(x))))))


def slot(model: nn.Module, name: str, *dims: int, charge: int = 1, frames=()) -> Slot:
    return Slot(name, Block.whole(tuple(named_tensors(model)[name].shape)), dims, charge, frames)


def symmetries_of(model: Net) -> Symmetries:
    """One of each kind; the last two overlap, so that their order matters."""
    h = model.a.out_features
    hidden = [("a.weight", 0, 1), ("a.bias", 0, 1), ("b.weight", 1, -1)]
    frame = Frame("norm.weight", Block.whole((6,)), (1,), -1)
    found = [
        Symmetry(
            PositiveScaling(h), tuple(slot(model, n, d, charge=c) for n, d, c in hidden), family="scaling"
        ),
        Symmetry(Permutation(h), tuple(slot(model, n, d) for n, d, _ in hidden), family="permutation"),
        Symmetry(
            GeneralLinear(4),
            (slot(model, "b.weight", 0), slot(model, "b.bias", 0), slot(model, "c.weight", 1, charge=-1)),
            family="linear",
        ),
        Symmetry(
            Orthogonal(6),
            (slot(model, "c.weight", 0), slot(model, "d.weight", 1, frames=(frame,))),
            family="rotation",
            exact=False,
            error=3e-13,
        ),
    ]
    return Symmetries(found, model, ["aten::strange in c: it has no rule; what it reads stays put"])


@pytest.fixture
def model() -> Net:
    net = Net()
    with torch.no_grad():
        net.norm.weight.uniform_(0.5, 1.5)
    return net


@pytest.fixture
def symmetries(model) -> Symmetries:
    return symmetries_of(model)


def bits(model: nn.Module) -> dict[str, bytes]:
    """Everything a model holds, bit for bit."""
    return {n: t.detach().numpy().tobytes() for n, t in named_tensors(model).items()}


INPUTS = torch.linspace(-2, 2, 30).reshape(10, 3)


# ---------------------------------------------------------------- moving a model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_moved_model_computes_the_same(model, dtype):
    """To the precision of its own dtype: elements are drawn in it."""
    model, inputs = model.to(dtype), INPUTS.to(dtype)
    symmetries = symmetries_of(model)
    before, weights = model(inputs), bits(model)
    elements = symmetries.sample(generator=torch.Generator().manual_seed(0))
    symmetries.act_(elements)
    # Six matrix products in a row, on either side, each with the conditions of the elements it has absorbed.
    cond = torch.linalg.cond(elements[2].double()) * elements[0].max() / elements[0].min()
    norm = model.norm.weight.detach()
    frame = (norm.max() / norm.min()) ** 2
    bound = 12 * 6**1.5 * torch.finfo(dtype).eps * float(cond * frame)
    assert_close(model(inputs), before, rtol=0, atol=bound * before.abs().max().item())
    moved = bits(model)
    assert {n for n in moved if moved[n] != weights[n]} == {n for s in symmetries for n in s.parameters}


def test_elements_have_the_precision_of_the_model(model):
    """A rotation in float32 is no rotation in a float64 model, and bfloat16 is too coarse for any."""
    model.double()
    assert {g.dtype for g in symmetries_of(model).sample() if g.is_floating_point()} == {torch.float64}
    model.bfloat16()
    assert {g.dtype for g in symmetries_of(model).sample() if g.is_floating_point()} == {torch.float32}


def test_addresses_survive(model, symmetries):
    addresses = {n: t.data_ptr() for n, t in named_tensors(model).items()}
    parameters = dict(model.named_parameters())
    symmetries.act_(symmetries.sample())
    assert {n: t.data_ptr() for n, t in named_tensors(model).items()} == addresses
    assert all(p is parameters[n] for n, p in model.named_parameters())


def test_act_gives_what_act_writes(model, symmetries):
    elements = symmetries.sample()
    moved = symmetries.act(elements, named_tensors(model))
    symmetries.act_(elements)
    now = named_tensors(model)
    assert all(torch.equal(now[n], new) for n, new in moved.items())


def test_the_first_acts_first(model, symmetries):
    elements = symmetries.sample()
    tensors = dict(named_tensors(model))
    for s, g in zip(symmetries, elements, strict=True):
        tensors |= s.act(g, tensors)
    moved = symmetries.act(elements, named_tensors(model))
    assert all(torch.equal(tensors[n], new) for n, new in moved.items())
    back = list(zip(symmetries, elements, strict=True))[::-1]
    other = Symmetries([s for s, _ in back]).act([g for _, g in back], named_tensors(model))
    assert not torch.equal(other["b.weight"], moved["b.weight"])


def test_identity_moves_nothing(model):
    """Bit for bit, but for the division by a norm's weight."""
    symmetries = symmetries_of(model).only(PositiveScaling, Permutation, GeneralLinear)
    before = bits(model)
    symmetries.act_(symmetries.identity())
    assert bits(model) == before


def test_none_moves_nothing(model, symmetries):
    before = bits(model)
    symmetries.act_([None] * 4)
    assert bits(model) == before
    elements = [None, *symmetries.sample()[1:2], None, None]
    symmetries.act_(elements)
    after = bits(model)
    assert {n for n in after if after[n] != before[n]} <= {"a.weight", "a.bias", "b.weight"}


def test_a_second_move_undoes_the_first(model, symmetries):
    model.double()
    before = {n: t.clone() for n, t in named_tensors(model).items()}
    elements = symmetries.sample(0.3, torch.Generator().manual_seed(0))
    symmetries.act_(elements)
    inverse = [s.group.inverse(g) for s, g in zip(symmetries, elements, strict=True)]
    symmetries[::-1].act_(inverse[::-1])
    for name, t in named_tensors(model).items():
        assert_close(t, before[name], rtol=1e-12, atol=1e-12)


def test_transport_is_the_gradient_of_the_moved_model(model, symmetries):
    """Through all symmetries one after another, the one with a frame included."""
    model.double()
    inputs, elements = INPUTS.double(), symmetries.sample(0.3, torch.Generator().manual_seed(0))

    def gradients() -> dict[str, Tensor]:
        parameters = dict(model.named_parameters())
        loss = (model(inputs) ** 3).sum()
        return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))

    here = gradients()
    moved = here | symmetries.transport(elements, here, named_tensors(model))
    symmetries.act_(elements)
    for name, expected in gradients().items():
        assert_close(moved[name], expected, rtol=0, atol=1e-10 * expected.abs().max().item())


def test_gradients_and_modes_are_not_touched(model, symmetries):
    model(INPUTS).sum().backward()
    model.a.weight.requires_grad_(False)
    model.train()
    grads = {n: p.grad.clone() for n, p in model.named_parameters()}
    symmetries.act_(symmetries.sample())
    assert all(torch.equal(p.grad, grads[n]) for n, p in model.named_parameters())
    assert not model.a.weight.requires_grad and model.b.weight.requires_grad and model.training


def test_tied_parameters_move_once():
    """They appear under their first name only."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    assert list(named_tensors(model)) == ["0.weight"]
    tied = Symmetry(Permutation(4), (slot(model, "0.weight", 1),))
    tokens = torch.arange(5)
    before = model(tokens)
    moved = Symmetries([tied], model)
    moved.act_([torch.tensor([2, 0, 3, 1])])
    assert_close(model(tokens), before)
    assert model[0].weight is model[1].weight


# ---------------------------------------------------------------- failing without a trace


def spoiled(symmetries: Symmetries, index: int, value: float) -> list[Tensor]:
    elements = symmetries.sample()
    elements[index] = elements[index].clone()
    elements[index].view(-1)[0] = value
    return elements


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("index", [0, 2, 3], ids=["scaling", "linear", "rotation"])
def test_an_element_that_is_not_finite_leaves_everything(model, symmetries, index, value):
    """Whichever symmetry it is one of: those before it are not written either."""
    before = bits(model)
    with pytest.raises(ValueError, match="Symmetries.act_: .* got .*(inf|nan)"):
        symmetries.act_(spoiled(symmetries, index, value))
    assert bits(model) == before


def test_an_overflow_leaves_everything(model, symmetries):
    """A finite element of the group, with finite products, up to the last tensor."""
    elements = symmetries.identity()
    elements[2] *= 1e-30
    with torch.no_grad():
        model.c.weight.fill_(1e10)
    before = bits(model)
    with pytest.raises(
        ValueError,
        match=r"act_: a move must give finite values; got inf or nan in c.weight \(the group element is too large",
    ):
        symmetries.act_(elements)
    assert bits(model) == before


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_model_that_is_not_finite_is_left_as_it_is(model, symmetries, bad):
    with torch.no_grad():
        model.d.weight[0, 0] = bad
    before = bits(model)
    with pytest.raises(ValueError, match=r"got inf or nan in d.weight \(it was not finite before\)"):
        symmetries.act_(symmetries.sample())
    assert bits(model) == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e[:-1], "one element per symmetry; got 3 for 4"),
        (lambda e: [*e, None], "one element per symmetry; got 5 for 4"),
        (lambda e: [e[0][:-1], *e[1:]], r"an element of R\+\^5 has shape \(5,\); got \(4,\)"),
        (lambda e: [*e[:2], torch.eye(5), e[3]], r"an element of GL\(4\) has shape \(4, 4\); got \(5, 5\)"),
        (lambda e: [*e[:3], e[3].expand(2, 6, 6)], r"of O\(6\) has shape \(6, 6\); got \(2, 6, 6\)"),
        (
            lambda e: [e[0], e[0], *e[2:]],
            r"an element of S_5 holds indices, int64; got torch.float32 for a.weight, a.bias, b.weight; "
            "give the elements in the order of the symmetries",
        ),
        (lambda e: [e[1], *e[1:]], r"of R\+\^5 holds floating-point numbers; got torch.int64"),
        (lambda e: [*e[:3], e[3].cfloat()], r"of O\(6\) holds floating-point numbers; got torch.complex64"),
        (lambda e: ["a", *e[1:]], r"an element of R\+\^5 has shape \(5,\); got 'a'; start from identity"),
        (lambda e: iter(e), "elements must be a list, one per symmetry; got list_iterator"),
        (lambda e: None, "elements must be a list, one per symmetry; got NoneType"),
    ],
    ids=[
        "one too few",
        "one too many",
        "short",
        "wide",
        "batched",
        "order",
        "other order",
        "complex",
        "text",
        "iterator",
        "none",
    ],  # fmt: skip
)
def test_elements_that_do_not_fit_leave_everything(model, symmetries, change, match):
    before = bits(model)
    with pytest.raises(ValueError, match=match):
        symmetries.act_(change(symmetries.sample()))
    assert bits(model) == before


def test_a_batch_must_be_that_of_the_symmetry():
    """Five numbers where one was meant would fit the rows of a weight."""
    model = nn.Linear(3, 5)
    one = Symmetries([Symmetry(PositiveScaling(1), (slot(model, "weight"),))], model)
    with pytest.raises(ValueError, match=r"an element of R\+\^1 has shape \(1,\); got \(5, 1\)"):
        one.act_([torch.ones(5, 1)])


@pytest.mark.parametrize(
    ("index", "element", "match"),
    [
        (
            0,
            torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0]),
            r"lie in their group, .* got \[1, 2, 0, 1, 1\] for R\+\^5 on a",
        ),
        (0, -torch.ones(5), r"got \[-1, -1, -1, -1, -1\] for R\+\^5 on a.weight"),
        (1, torch.tensor([0, 0, 1, 2, 3]), r"got \[0, 0, 1, 2, 3\] for S_5 on a.weight"),
        (1, torch.tensor([0, 1, 2, 3, 9]), r"got \[0, 1, 2, 3, 9\] for S_5 on a.weight"),
        (2, torch.ones(4, 4), "matrices must be invertible; got .*singular"),
        (3, 2 * torch.eye(6), r"for O\(6\) on c.weight"),
    ],
    ids=["zero", "negative", "twice", "outside", "singular", "stretched"],
)
def test_what_is_no_element_leaves_everything(model, symmetries, index, element, match):
    """It would change the function."""
    before, elements = bits(model), symmetries.sample()
    elements[index] = element
    with pytest.raises(ValueError, match=match):
        symmetries.act_(elements)
    assert bits(model) == before


def test_a_parameter_that_went_missing(model, symmetries):
    """For instance because weight_norm put two others in its place."""
    nn.utils.parametrizations.weight_norm(model.a)
    before = bits(model)
    with pytest.raises(
        ValueError, match="must have every parameter that moves; got a model without a.weight"
    ):
        symmetries.act_(symmetries.sample())
    assert bits(model) == before


@pytest.mark.parametrize("h", [4, 6])
def test_a_parameter_that_was_resized(model, symmetries, h):
    """In a wider model a block would still lie somewhere."""
    model.a, model.b = nn.Linear(3, h), nn.Linear(h, 4)
    before, elements = bits(model), symmetries.sample()
    with pytest.raises(
        ValueError, match=rf"got \({h}, 3\) for a.weight of shape \(5, 3\); find its symmetries"
    ):
        symmetries.act_(elements)
    assert bits(model) == before


def test_a_deleted_model_is_missed():
    model = Net()
    symmetries = symmetries_of(model)
    elements = symmetries.sample()
    del model
    gc.collect()
    with pytest.raises(ReferenceError, match=r"needs the model they were found in; .* or call bind\(model\)"):
        symmetries.act_(elements)
    with pytest.raises(ReferenceError, match="got none"):
        Symmetries(list(symmetries)).act_(elements)
    other = Net()
    symmetries.bind(other).act_(elements)
    assert symmetries.bind(other).model is other


# ---------------------------------------------------------------- choosing


def test_bind_moves_the_other_model(model, symmetries):
    other = copy.deepcopy(model)
    before, elements = bits(model), symmetries.sample()
    bound = symmetries.bind(other)
    bound.act_(elements)
    assert bits(model) == before != bits(other)
    assert list(bound) == list(symmetries) and bound.notes == symmetries.notes
    symmetries.act_(elements)
    assert bits(model) == bits(other)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: Net(6), r"Symmetries.bind: .* got \(6, 3\) for a.weight of shape \(5, 3\)"),
        (lambda: nn.Linear(3, 5), "Symmetries.bind: .* got a model without a.weight"),
    ],
    ids=["wider", "another"],
)
def test_bind_refuses_another_architecture(symmetries, other, match):
    with pytest.raises(ValueError, match=match):
        symmetries.bind(other())


def test_a_sequence(symmetries):
    assert len(symmetries) == 4 and symmetries[0].family == "scaling" and symmetries[-1].family == "rotation"
    assert [s.family for s in symmetries[1:3]] == ["permutation", "linear"]
    assert [s.family for s in reversed(symmetries)] == ["rotation", "linear", "permutation", "scaling"]
    assert symmetries[2] in symmetries and symmetries.index(symmetries[2]) == 2
    assert symmetries.dim == 5 + 0 + 16 + 15 == sum(s.dim for s in symmetries)
    with pytest.raises(IndexError):
        symmetries[4]


def test_slices_and_choices_keep_model_and_notes(model, symmetries):
    for chosen in (symmetries[1:], symmetries.where(lambda s: s.exact), symmetries.only(Permutation)):
        assert isinstance(chosen, Symmetries)
        assert chosen.model is model and chosen.notes == symmetries.notes
        chosen.act_(chosen.sample())


def test_only(symmetries):
    assert [s.family for s in symmetries.only(Permutation, Orthogonal)] == ["permutation", "rotation"]
    assert len(symmetries.only(SignFlip)) == len(symmetries.only()) == 0


def test_within(symmetries):
    """What moves nothing outside; what the action only reads may lie anywhere."""
    first = ["a.weight", "a.bias", "b.weight"]
    assert [s.family for s in symmetries.within(first)] == ["scaling", "permutation"]
    assert [s.family for s in symmetries.within(iter(["c.weight", "d.weight"]))] == ["rotation"]
    assert len(symmetries.within([])) == 0
    assert list(symmetries.within(n for s in symmetries for n in s.parameters)) == list(symmetries)


def test_where(symmetries):
    assert [s.family for s in symmetries.where(lambda s: not s.exact)] == ["rotation"]


def test_an_empty_choice_can_do_everything(symmetries):
    none = symmetries.only(SignFlip)
    assert none.sample() == none.identity() == [] and none.dim == 0
    assert none.act([], {}) == {}
    none.act_([])
    assert "0 symmetries, continuous dimension 0, 0 discrete" in none.table


# ---------------------------------------------------------------- random elements


def test_sample_is_reproducible(symmetries):
    """By its generator, which it advances; the global one is left alone."""
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(7)
    first, second = symmetries.sample(0.5, generator), symmetries.sample(0.5, generator)
    again = symmetries.sample(0.5, torch.Generator().manual_seed(7))
    assert all(torch.equal(g, h) for g, h in zip(first, again, strict=True))
    assert not all(torch.equal(g, h) for g, h in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_sample_follows_the_global_seed_without_a_generator(symmetries):
    torch.manual_seed(3)
    first = symmetries.sample()
    torch.manual_seed(3)
    assert all(torch.equal(g, h) for g, h in zip(first, symmetries.sample(), strict=True))


def test_scale_is_the_size_of_the_step(symmetries):
    """Continuous elements tend to the identity with it."""
    for s, g in zip(symmetries, symmetries.sample(1e-4), strict=True):
        if s.dim:
            assert 0 < (g - s.identity()).abs().max() < 1e-3
    for s, g in zip(symmetries, symmetries.sample(0.0), strict=True):
        assert not s.dim or torch.equal(g, s.identity())


@pytest.mark.parametrize("scale", [-0.5, float("nan"), float("inf"), "a"])
def test_a_scale_that_is_none_is_refused(symmetries, scale):
    """Even where all groups are discrete, which ignore it."""
    for some in (symmetries, symmetries.only(Permutation)):
        with pytest.raises(
            ValueError, match=r"sample: scale must be a finite number that is not negative; got "
        ):
            some.sample(scale)


# ---------------------------------------------------------------- elements on disk


def test_save_and_load(symmetries, tmp_path):
    """Bit for bit, dtype included, gaps too."""
    elements = symmetries.sample()
    elements[0] = elements[0].double()
    elements[3] = None
    path = tmp_path / "new folder" / "elements.safetensors"
    symmetries.save(elements, path)
    loaded = symmetries.load(str(path))
    assert loaded[3] is None
    for saved, found in zip(elements[:3], loaded[:3], strict=True):
        assert_close(found, saved, rtol=0, atol=0)
    assert [p.name for p in path.parent.iterdir()] == ["elements.safetensors"]


def test_elements_that_share_memory_are_saved(symmetries, tmp_path):
    two = Symmetries([symmetries[0], symmetries[0]])
    g = symmetries[0].sample().requires_grad_()
    two.save([g, g], tmp_path / "g")
    assert all(torch.equal(h, g) for h in two.load(tmp_path / "g"))


def test_what_is_loaded_belongs_to_these_symmetries(symmetries, tmp_path):
    """The same groups on other parameters are others."""
    path = tmp_path / "g"
    symmetries.save(symmetries.sample(), path)
    renamed = Symmetry(PositiveScaling(5), (Slot("z", Block.whole((5,)), (0,)),))
    for others in (symmetries[:2], Symmetries([renamed, *symmetries[1:]])):
        with pytest.raises(
            ValueError, match=rf"these {len(others)} symmetries; got elements of 4 others in .*g;"
        ):
            others.load(path)


def gates(*starts: int) -> list[Symmetry]:
    """Translations of the two biases of one gate, such as an LSTM has four of."""
    blocks = [Block((start,), (((4, 1),),)) for start in starts]
    return [
        Symmetry(Translation(4), (Slot("b", block, (0,)), Slot("c", block, (0,), -1)), family="translation")
        for block in blocks
    ]


def test_symmetries_of_the_same_parameters_are_told_apart(tmp_path):
    """By the blocks that they move and the charges with which they do."""
    one, two = gates(0, 4)
    Symmetries([one, two]).save([one.sample(), two.sample()], tmp_path / "g")
    turned = [replace(two, slots=(two.slots[0], replace(two.slots[1], charge=1)))]
    for others in ([two, one], [one, *turned]):
        with pytest.raises(ValueError, match=r"these 2 symmetries; got elements of 2 others in .*g;"):
            Symmetries(others).load(tmp_path / "g")
    whole = [
        replace(s, slots=tuple(replace(t, charge=Fraction(t.charge)) for t in s.slots)) for s in (one, two)
    ]
    assert len(Symmetries(whole).load(tmp_path / "g")) == 2


def test_files_written_before_blocks_were_are_read(tmp_path):
    """With a warning only where their order cannot be checked."""
    for symmetries, doubtful in ((gates(0, 4), True), (gates(0), False)):
        early = json.dumps([[s.name, *s.parameters] for s in symmetries])
        elements = {str(i): s.sample() for i, s in enumerate(symmetries)}
        save_file(elements, tmp_path / "g", metadata={"isoloss": early})
        warns = pytest.warns(UserWarning, match="too old to tell symmetries of the same parameters apart")
        with warns if doubtful else nullcontext():
            loaded = Symmetries(symmetries).load(tmp_path / "g")
        assert all(torch.equal(g, elements[str(i)]) for i, g in enumerate(loaded))


def test_a_file_that_save_did_not_write(symmetries, tmp_path):
    save_file({"0": torch.zeros(5)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="these 4 symmetries; got no elements in .*weights; find"):
        symmetries.load(tmp_path / "weights")
    (tmp_path / "text").write_text("no tensors here, only words")
    with pytest.raises(ValueError, match="must be one that save wrote; got .*text, no safetensors"):
        symmetries.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        symmetries.load(tmp_path / "absent")


def test_a_save_that_fails_leaves_the_old_file(symmetries, tmp_path, monkeypatch):
    path = tmp_path / "g"
    elements = symmetries.sample()
    symmetries.save(elements, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="one element per symmetry; got 3 for 4"):
        symmetries.save(elements[:3], path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        symmetries.save(symmetries.sample(), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_pickles_and_copies_without_the_model(model, symmetries):
    for other in (pickle.loads(pickle.dumps(symmetries)), copy.deepcopy(symmetries)):
        assert list(other) == list(symmetries) and other.notes == symmetries.notes
        with pytest.raises(ReferenceError):
            other.model  # noqa: B018
        assert other.bind(model).model is model


# ---------------------------------------------------------------- printed


def test_table(symmetries):
    assert symmetries.table.splitlines() == [
        "group  dim       family       acts on                     holds      error",
        "-----  --------  -----------  --------------------------  ---------  ------------",
        "R+^5   5         scaling      a.weight, a.bias, b.weight  exactly    not verified",
        "S_5    discrete  permutation  a.weight, a.bias, b.weight  exactly    not verified",
        "GL(4)  16        linear       b.weight, b.bias, c.weight  exactly    not verified",
        "O(6)   15        rotation     c.weight, d.weight          up to eps  3e-13",
        "",
        "4 symmetries, continuous dimension 36, 1 discrete",
        "left out: aten::strange in c: it has no rule; what it reads stays put",
    ]
    assert str(symmetries) == symmetries.table


def test_repr_is_one_line(symmetries):
    assert repr(symmetries) == "Symmetries(4 symmetries, continuous dimension 36)"


def test_long_lists_of_parameters_are_shortened():
    slots = tuple(Slot(f"p{i}", Block.whole((2,)), (0,)) for i in range(8))
    table = Symmetries([Symmetry(SignFlip(2), slots)]).table
    assert "p0, p1, p2, p3, p4, p5 and 2 more" in table and "p6" not in table


def test_html(symmetries):
    """Everything that a name or a note may contain is escaped."""
    evil = Symmetry(Translation(2), (Shift("<b>&", Block.whole((2,)), "i->i"),), family="<i>")
    page = Symmetries([*symmetries, evil], None, ["<script>alert(1)</script>"])._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>" not in page and "&lt;b&gt;&amp;" in page and "&lt;i&gt;" in page
    assert page.count("<tr>") == 1 + 5 and page.count("<td>") == 5 * 6
    assert "5 symmetries, continuous dimension 38, 1 discrete" in page
    assert "<ul>" not in Symmetries([evil])._repr_html_()


def test_reads_are_checked_as_well(model):
    """A parameter that a shift passes through must be there too."""
    operand = Operand("d.weight", Block.whole((2, 6)))
    shift = Shift("d.bias", Block.whole((2,)), "i,oi->o", (operand,))
    symmetries = Symmetries([Symmetry(Translation(6), (shift,))], model)
    model.d = nn.Linear(7, 2)
    with pytest.raises(ValueError, match=r"got \(2, 7\) for d.weight of shape \(2, 6\)"):
        symmetries.act_(symmetries.sample())


@pytest.mark.parametrize("odd", ["Permutation", Permutation(3)])
def test_only_takes_classes_of_groups(odd):
    with pytest.raises(TypeError, match="Symmetries.only: takes classes of groups"):
        Symmetries([]).only(odd)
