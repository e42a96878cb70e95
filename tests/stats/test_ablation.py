from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from bench.spec.arms import Arm
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.stats.ablation import Scores, effects, shared_weights

ARMS = tuple(
    Arm(Spec(f"m{a:d}{b:d}"), (a, b)) for b, a in itertools.product((False, True), repeat=2)
)

WORLDS = 400


def cases(seeds: int = 1, noise: float = 0.0, drop: str = "") -> pd.DataFrame:
    """Return a patient's ease plus two effects of 10 and 5 points, and 2 more for both."""
    rng = np.random.default_rng(3)
    ease = rng.uniform(0.1, 0.6, 12)
    rows = []
    for arm, seed, patient, case in itertools.product(ARMS, range(seeds), range(12), range(3)):
        a, b = arm.switches
        if drop == f"{arm.spec}/{patient}":
            continue
        dice = (
            ease[patient]
            + 0.1 * a
            + 0.05 * b
            + 0.02 * (a and b)
            + 0.03 * (case - 1)
            + noise * rng.normal()
        )
        rows.append((arm.spec.key, 35 + seed, f"p{patient}", f"p{patient}_{case}", dice))
    return pd.DataFrame(rows, columns=["method", "seed", "patient", "case", "dice"])


def test_effects_are_told_from_patients_who_are_easy_or_hard() -> None:
    a, b, both = effects(Scores.of(ARMS, ("a", "b"), cases(), "dice", "").contrasts())
    assert [each.name for each in (a, b, both)] == ["a", "b", "a x b"]
    assert (a.mean, b.mean, both.mean) == pytest.approx((0.11, 0.06, 0.02))
    assert a.patients == pytest.approx(
        (0.11, 0.11)
    )  # paired: patients differ by 50 points, their effects by none
    assert np.isnan(a.seeds).all()


def test_intervals_widen_with_noise_and_hold_the_effect() -> None:
    noisy = Scores.of(ARMS, ("a", "b"), cases(seeds=3, noise=0.05), "dice", "")
    for each, truth in zip(effects(noisy.contrasts()), (0.11, 0.06, 0.02), strict=True):
        for low, high in (each.patients, each.seeds):
            assert low < truth < high
            assert high - low > 0.005


def test_p_counts_all_effects_and_looks() -> None:
    contrasts = Scores.of(ARMS, ("a", "b"), cases(), "dice", "").contrasts()
    alone = effects({"a": contrasts["a"]})[0].p
    assert alone == 2 / 2**12
    assert effects(contrasts)[0].p == pytest.approx(3 * alone)
    assert effects(contrasts, looks=2)[0].p == pytest.approx(6 * alone)


def test_effects_of_equal_arms_are_seldom_called_effects() -> None:
    """Two modules that do nothing: some effect has p <= 0.05 in at most 6.5 % of worlds."""
    rng = np.random.default_rng(35)
    wrong = 0
    for _ in range(WORLDS):
        run = rng.normal(0, 0.01, (4, 3, 1)) + rng.normal(0, 0.03, (4, 3, 12))
        world = Scores(ARMS, ("a", "b"), rng.uniform(0.1, 0.6, 12) + run)
        wrong += min(each.p for each in effects(world.contrasts())) <= 0.05
    assert wrong / WORLDS <= 0.065


def test_arms_tested_on_other_patients_are_refused() -> None:
    with pytest.raises(UsageError, match="m10 was not tested on the same patients and seeds"):
        Scores.of(ARMS, ("a", "b"), cases(drop="m10/4"), "dice", "")


def test_shared_weights_are_those_of_modules_of_one_name_and_shape() -> None:
    one = {
        "stem.weight": "3x3:aa",
        "stem.bias": "3:bb",
        "head.weight": "1:cc",
        "head.bias": "1:dd",
        "nsa.weight": "5:ee",
    }
    other = {**one, "stem.weight": "3x4:ff", "stem.bias": "3:gg"}  # another fan-in: another module
    assert shared_weights([one, other]) == (3, 3)
    assert shared_weights([one, {**other, "head.bias": "1:hh"}]) == (3, 2)
    assert shared_weights([{"a.weight": "3x3:x"}, {"a.weight": "4x4:y"}]) == (0, 0)
