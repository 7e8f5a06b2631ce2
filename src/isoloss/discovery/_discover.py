"""Learning generators and an action map from a loss."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss._files import make_folder
from isoloss.discovery import _training
from isoloss.discovery._discovery import Discovery
from isoloss.discovery._grade import INDEPENDENT, graded
from isoloss.discovery._local import Local
from isoloss.discovery._loss import Loss, Losses
from isoloss.discovery._recipe import Recipe
from isoloss.discovery._requirements import own_action, require_finite, require_operations, require_shapes
from isoloss.discovery._sampler import Sample, Sampler, seeded
from isoloss.discovery._training import Progress, Record
from isoloss.discovery.actions import Action, action_of
from isoloss.discovery.terms import TERMS

WHERE = "discover"
VALIDATION, GRADING, POOL = 7_000_003, 8_000_009, 9_000_011
"""Seeds of the samples to measure on, to grade on, and of those drawn once; added to the recipe's."""
STRIDE = 1_000_003
"""Between the streams of two seeds: steps draw with seed * STRIDE + step."""


class DivergenceError(RuntimeError):
    """Training came to values that are not finite."""


class Learned(nn.Module):
    """What is learned: an action and its generators."""

    def __init__(self, action: Action, count: int):
        super().__init__()
        self.action = action
        self.h = action.generators(count)


@torch.inference_mode(False)  # which turns gradients on, too
def discover(
    loss: Loss,
    sample_params: Sample,
    sample_data: Sample,
    n_generators: int = 1,
    action: str | Action = "residual",
    recipe: Recipe | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    watch: Callable[[Record], None] | None = None,
    progress: bool = False,
) -> Discovery:
    r"""Learn a symmetry of a loss: generators h and an action map :math:`a_X(g, \theta)`.

    .. math:: \min_{h, a} \sum_i \gamma_i \mathcal{L}_i, \qquad
        \mathcal{L}_1 = \mathbb{E}_{X, \theta}\, | D_\theta L\, D_g a_X|_{I, \theta}(h) |, \ldots

    Directions and slopes are forward derivatives, vectorized over samples and generators; no Jacobian is formed.

    Args:
        loss: Of one sample of parameters and data, a scalar, or one number for each data point, (d,). All that it keeps
            is d numbers: with few of them most directions are symmetries on one sample of data (see `null_space`).
        sample_params: From n to parameters: a tensor (n, *shape), or a dict or other tree of such. Drawn with torch's
            global generator, which is seeded for it.
        sample_data: Likewise.
        n_generators: k.
        action: A name in `actions.NAMES`, or an `Action` of your own.
        recipe: The weights and how to train; `Recipe()` if None, `Recipe.published()` as in the dissertation.
        options: Of the action, if it is named.
        out: Folder of a checkpoint, written at every measurement; None keeps none.
        resume: Continue from the checkpoint in the folder, if there is one; to the same bits. Shapes, action and recipe
            are compared, and the loss and the samplers by the size of what they return, to four digits.
        watch: Told about every measurement.
        progress: Show a bar (needs tqdm).

    Returns:
        What was learned, with its grade: whether it is a symmetry, and if not, why.

    Raises:
        ValueError: If the loss is no scalar or vector, is not finite, or is constant at nine samples in ten, samplers
            change shapes, or the checkpoint is of another training.
        DivergenceError: If training leads to values that are not finite; the last checkpoint stays.
        NotImplementedError: If the loss has an operation that cannot be batched or differentiated forward.
        ImportError: If there is no tqdm for the bar.

    References:
        Dissertation, Eq. (6.3) and section 6.5; Theorems 6.3.1 and 6.3.2. Differs by default in the terms, see
        `terms.relative_invariance` and `terms.independence`, and in the action, see `actions.Residual`.

    Example:
        >>> import torch
        >>> from isoloss.discovery import Recipe, discover, normal
        >>> loss = lambda w, x: (w["b"] * torch.relu(w["a"] * x["x"]) - x["y"]) ** 2
        >>> found = discover(loss, normal(a=(), b=()), normal(x=(), y=()), action="linear", recipe=Recipe(steps=400))
        >>> h = found.generators[0]  # rescaling: a grows as b shrinks
        >>> bool((h / h[0, 0] - torch.diag(torch.tensor([1.0, -1.0]))).abs().max() < 0.05)
        True
    """
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise ValueError(
            f"{WHERE}: recipe must be a Recipe; got {type(recipe).__name__}; write Recipe(steps=1000), say."
        )
    sampler = Sampler(sample_params, sample_data, WHERE)
    size = sampler.params.size
    if not is_whole(n_generators, least=1) or n_generators > size:
        raise ValueError(
            f"{WHERE}: n_generators must be a whole number from 1 to the number of parameters, {size}; got "
            f"{n_generators!r}."
        )
    n_generators = int(n_generators)
    losses = Losses(loss, sampler.params, sampler.data)
    theta, x = sampler(recipe.validation, recipe.seed * STRIDE + VALIDATION)
    require_operations(losses, theta, x)
    require_finite(losses, theta, x)
    with seeded(recipe.seed):
        if isinstance(action, str):
            action = action_of(action, size, sampler.data.size, options)
        else:
            action = own_action(action, size, sampler.data.size, options)
        learned = Learned(action, n_generators).to(theta)
    require_shapes(action, learned.h(), theta, x)
    optimizer = _adam(learned, recipe)
    sizes = [f"{float(t.detach().double().square().mean().sqrt()):.3e}" for t in (theta, x, losses(theta, x))]
    context = _context(action, n_generators, recipe, sampler) | dict(
        zip(("parameters drawn", "data drawn", "loss"), sizes, strict=True)
    )
    folder = None if out is None else make_folder(out, WHERE)
    state = _training.load(folder, learned, optimizer, context) if folder is not None and resume else None
    state = state or Progress()
    _train(learned, optimizer, losses, sampler, recipe, state, (theta, x), folder, context, watch, progress)
    learned.load_state_dict(state.best)
    theta, x = (t.double() for t in sampler(recipe.validation, recipe.seed * STRIDE + GRADING))
    learned.double().requires_grad_(False)
    here = Local(losses, action, learned.h(), theta, x, torch.Generator().manual_seed(recipe.seed))
    return Discovery(
        action=action,
        generators=learned.h().clone(),
        params=sampler.params,
        data=sampler.data,
        grade=graded(here, recipe.beta),
        recipe=recipe,
        history=tuple(state.history),
        loss=loss,
    )


def objective(here: Local, recipe: Recipe) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of Eq. (6.3), and its terms; those without a weight are left out."""
    terms = {name: TERMS[name](here, recipe.beta) for name, weight in recipe.weights.items() if weight}
    total = here.theta.new_zeros(())
    for name, term in terms.items():
        total = total + recipe.weights[name] * term
    return total, terms


def _train(
    learned: Learned,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    sampler: Sampler,
    recipe: Recipe,
    state: Progress,
    held_out: tuple[Tensor, Tensor],
    folder: Path | None,
    context: dict[str, Any],
    watch: Callable[[Record], None] | None,
    progress: bool,
) -> None:
    pool = None
    if recipe.samples is not None:
        pool = sampler(recipe.samples, recipe.seed * STRIDE + POOL)
    with _bar(progress, recipe.steps, state.step) as tell:
        while state.step < recipe.steps:
            if _done(state, recipe):
                break
            seed = recipe.seed * STRIDE + state.step
            draws = torch.Generator().manual_seed(seed)
            if pool is None:
                theta, x = sampler(recipe.batch, seed)
            else:
                chosen = torch.randint(len(pool[0]), (recipe.batch,), generator=draws)
                theta, x = pool[0][chosen], pool[1][chosen]
            total, _ = objective(Local(losses, learned.action, learned.h(), theta, x, draws), recipe)
            if not total.requires_grad:
                raise ValueError(
                    f"{WHERE}: weights must be of terms that depend on what is learned; got "
                    f"{dict(recipe.weights)} for {type(learned.action).__name__}; weigh relative_invariance, say."
                )
            optimizer.zero_grad()
            total.backward()
            size = nn.utils.clip_grad_norm_(learned.parameters(), recipe.clip)
            if not math.isfinite(float(total.detach())) or not math.isfinite(float(size)):
                require_finite(losses, theta, x)
                raise _diverged(
                    f"{float(total.detach())} with a gradient of length {float(size)}", state.step
                )
            if recipe.decay:
                for group in optimizer.param_groups:
                    group["lr"] = group["start"] * 0.5 * (1 + math.cos(math.pi * state.step / recipe.steps))
            optimizer.step()
            state.step += 1
            if state.step % recipe.validate == 0 or state.step == recipe.steps:
                record = _measured(learned, losses, recipe, state, held_out)
                if folder is not None:
                    _training.save(folder, learned, optimizer, state, context)
                tell(record)
                if watch is not None:
                    watch(record)


def _measured(
    learned: Learned, losses: Losses, recipe: Recipe, state: Progress, held_out: tuple[Tensor, Tensor]
) -> Record:
    with torch.no_grad():
        draws = torch.Generator().manual_seed(recipe.seed)
        here = Local(losses, learned.action, learned.h(), held_out[0], held_out[1], draws)
        total, terms = objective(here, recipe)
        least = float(torch.linalg.svdvals(here.units)[:, -1].median())
        record = Record(
            step=state.step,
            objective=float(total),
            terms={name: float(term) for name, term in terms.items()},
            invariance=float(here.invariance.square().mean().sqrt()),
            norm=float(here.squared.sqrt().median()),
            independence=least,
        )
    if not math.isfinite(record.objective):
        raise _diverged(f"{record.objective} on the samples to measure on", state.step)
    state.history.append(record)
    state.waited += 1
    if record.objective < state.lowest or not state.best or _enough(record, recipe):
        state.lowest, state.waited = record.objective, 0
        state.best = {name: t.detach().clone() for name, t in learned.state_dict().items()}
    return record


def _diverged(got: str, step: int) -> DivergenceError:
    return DivergenceError(
        f"{WHERE}: the objective must stay finite; got {got} at step {step}; lower lr, or clip."
    )


def _enough(record: Record, recipe: Recipe) -> bool:
    return record.invariance < recipe.enough and record.independence > INDEPENDENT


def _done(state: Progress, recipe: Recipe) -> bool:
    waited = recipe.patience and state.waited >= recipe.patience
    return bool(state.history) and (bool(waited) or _enough(state.history[-1], recipe))


def _adam(learned: Learned, recipe: Recipe) -> torch.optim.Adam:
    rates = ((learned.action, recipe.lr), (learned.h, recipe.generator_lr))
    groups = [{"params": list(m.parameters()), "lr": lr, "start": lr} for m, lr in rates]
    return torch.optim.Adam([g for g in groups if g["params"]], fused=True)


def _context(action: Action, count: int, recipe: Recipe, sampler: Sampler) -> dict[str, Any]:
    """All that the same bits depend on, but for the functions that were given: these are told by what they return."""
    spaces = {
        name: [list(space.names), [list(s) for s in space.shapes]]
        for name, space in (("params", sampler.params), ("data", sampler.data))
    }
    named = {"action": type(action).__name__, "options": action.options, "generators": count}
    return {**spaces, **named, "recipe": recipe.words, "dtype": str(sampler.dtype)}


@contextmanager
def _bar(shown: bool, steps: int, done: int) -> Iterator[Callable[[Record], None]]:
    if not shown:
        yield lambda record: None
        return
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            "discover: progress needs tqdm; install it with pip install isoloss[discovery]."
        ) from error
    with tqdm(total=steps, initial=done, desc="discover") as bar:

        def tell(record: Record) -> None:
            bar.update(record.step - bar.n)
            bar.set_postfix(objective=f"{record.objective:.3g}", invariance=f"{record.invariance:.2g}")

        yield tell
