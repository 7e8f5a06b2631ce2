"""Verdicts on ensembles follow from the numbers; the networks and members that they are about."""

from dataclasses import replace

import pytest
import torch

from isoloss.reproduce import overall
from isoloss.reproduce.experiments import _attacks as attacks
from isoloss.reproduce.experiments import _ensembles as ensembles
from isoloss.reproduce.experiments import _shared_ensembles as shared
from reproduce.images import write_images

EPSILONS = [0.01, 0.1, 1.0, 5.0]
SEEDS = (0.0, 0.002, 0.005)


def holds(findings, start):
    chosen = [f.holds for f in findings if f.statement.startswith(start)]
    assert chosen, start
    return chosen


def accuracies(drops, **more):
    """Results in which every contender loses this much at each size, seed by seed a little differently."""
    runs = []
    for seed in SEEDS:
        single = 0.6 + seed
        run = {"single": single, "agreement": more.get("agreement", 1.0)}
        for i, name in enumerate((*ensembles.CONTENDERS, ensembles.EXACT)):
            lost = drops.get(name, (0.0,) * len(EPSILONS))
            votes = [single - d * (1 + (i % 3) * seed) for d in lost]
            members = [v - more.get("member", 0.0) for v in votes]
            run[name] = {"vote": votes, "mean": votes, "member": members, "same": [1.0] * len(EPSILONS)}
        runs.append(run)
    return {"epsilons": EPSILONS, "width": 32, "runs": runs}


WORSE = dict.fromkeys(shared.BASELINES, (0.0, 0.0, 0.2, 0.3))


def test_the_group_must_keep_the_accuracy_near_the_identity_and_win_far_from_it():
    assert overall(ensembles.judge(accuracies(WORSE | {"group": (0.0, 0.005, 0.02, 0.03)}))) == "reproduced"
    found = ensembles.judge(accuracies(WORSE | {"group": (0.0, 0.02, 0.02, 0.03)}))
    assert holds(found, "the group's ensemble keeps the accuracy") == [False]
    found = ensembles.judge(
        accuracies(WORSE | {"group": (0.0, 0.0, 0.02, 0.03), "perm_interp": (0.0, 0.0, 0.0, 0.01)})
    )
    assert holds(found, "for larger ε the group's ensemble errs less than perm_interp") == [False]
    assert overall(found) == "reproduced in part"


def test_controls_of_the_ensembles():
    found = ensembles.judge(accuracies(WORSE | {"shuffle": (0.4,) * 4}, member=0.05))
    assert holds(found, "at the smallest ε every baseline is the model") == [False]
    assert holds(found, "Eq. (2.55) on batches no larger") == [False]
    assert holds(found, "the vote makes up for") == [True]
    assert holds(found, "the group's ensemble errs less than the model") == [None]
    found = ensembles.judge(accuracies(WORSE, agreement=0.7))
    assert holds(found, "at the smallest ε every baseline is the model") == [True]
    assert holds(found, "Eq. (2.55) on batches no larger") == [True]
    assert holds(found, "the vote makes up for") == [False]


def test_sizes_are_compared_by_the_norm_of_g_less_the_identity():
    """Width 32, perm_interp at 5: 5 / 12 * sqrt(62) = 3.3, between the group's 0.57 and 5.7."""
    lost = {"group": (0.0, 0.0, 0.1, 0.1), "perm_interp": (0.0, 0.0, 0.2, 0.2)}
    (found,) = [f for f in ensembles.judge(accuracies(lost)) if f.statement.startswith("moved as far")]
    assert found.holds is True and "norms 5.7 at ε = 1 and 3.3 at ε = 5" in found.evidence


def curves(gains, **more):
    """Results in which the group's accuracies differ from the single model's by these, baselines losing more."""
    runs = []
    for seed in SEEDS:
        single = {"FGSM": [0.5, 0.3 + seed, 0.1], "PGD": [0.5, 0.3, 0.1 + seed]}
        entries = {}
        for name in shared.CONTENDERS:
            by = gains if name == "group" else {k: more.get(name, -0.1) for k in ("FGSM", "PGD", "transfer")}
            base = {**single, "transfer": single["FGSM"]}
            entries[name] = {k: [a + by[k] * (1 + seed) for a in base[k]] for k in base}
        runs.append({attacks.SINGLE: single, "sizes": {"1.0": entries}})
    return {"strengths": [1.0, 2.0], "runs": runs}


def test_attacks_ask_for_robustness_under_one_attack_and_none_under_the_other():
    found = attacks.judge(curves({"FGSM": 0.03, "PGD": 0.005, "transfer": 0.0}))
    assert overall(found) == "reproduced"
    assert holds(found, "ε = 1.0: the group's ensemble resists attacks made for the single model") == [None]
    found = attacks.judge(curves({"FGSM": 0.03, "PGD": 0.05, "transfer": 0.05}, random=0.2))
    assert holds(found, "PGD, ε = 1.0") == [False]
    assert holds(found, "ε = 1.0: the group's ensemble gains more under FGSM") == [False]
    assert holds(found, "FGSM, ε = 1.0: the group's ensemble is more robust than random") == [False]
    assert holds(found, "FGSM, ε = 1.0: the group's ensemble is more robust than single model") == [True]
    assert holds(found, "ε = 1.0: the group's ensemble resists attacks made for the single model") == [True]


@pytest.fixture
def trained(tmp_path):
    write_images(tmp_path, "cifar10_small", (8, 8, 3))
    settings = shared.Ensembles(
        data=str(tmp_path), samples=80, held_out=20, channels=3, width=6, epochs=2, members=4, action_batch=40
    )
    return settings, shared.trained(settings, 0)


def test_the_network_is_that_of_section_2_9(trained):
    settings, of = trained
    x = of.data.x[:5]
    assert x.shape == (5, 3, 8, 8)
    trunk, head = of.model.trunk, of.model.head
    assert trunk[0].kernel_size == (3, 3) and trunk(x).shape == (5, 3 * 3 * 3)
    assert head[0].out_features == head[2].in_features == settings.width
    torch.testing.assert_close(of.features[:5], trunk(x), rtol=0, atol=0)
    torch.testing.assert_close(of.model(x), head(trunk(x)), rtol=0, atol=0)
    low, high = of.valid
    assert low == of.data.x.min() and of.contrast == pytest.approx(high - low)
    again = shared.trained(settings, 0)
    assert again is of and shared.trained(settings, 1) is not of


@pytest.mark.parametrize("name", ["group", shared.WITHIN])
def test_the_members_of_the_group_agree_with_the_model_on_their_batch(trained, name):
    settings, of = trained
    members = shared.ensemble(settings, of, name, 0.3, seed=0)
    assert len(members) == settings.members
    # No more samples than units: then Eqs. (2.54) and (2.55) keep what is computed, up to float32.
    few = of.features[: settings.width]
    if name == "group":
        members = shared.ensemble(replace(settings, action_batch=settings.width), of, name, 0.3, seed=0)
    outputs = of.model.head(few)
    # float32, and units whose condition number may be a thousand.
    torch.testing.assert_close(members.outputs(few), outputs.expand(4, -1, -1), rtol=1e-3, atol=1e-3)


def test_equal_seeds_draw_equal_elements(trained):
    settings, of = trained
    one, two, other = (
        shared.ensemble(settings, of, "inverse", 0.3, seed).net[0].weight for seed in (0, 0, 1)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert not torch.equal(one, other)
