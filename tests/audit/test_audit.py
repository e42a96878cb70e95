from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from bench.audit import published
from bench.audit.audit import CANNOT, Finding, audit, g, interval, summary
from bench.audit.printed import Printed, PrintedCell, read

JENSEN = {
    ("DeepLabv3", "CT-Pri"),
    ("nnU-Net", "MR"),
    ("MedSegDiff", "X-ray"),
    ("MedSegDiff", "MR"),
    ("Verdiff-Net", "X-ray"),
}
STD = {("FCN", "CT-Pri"), ("Swin-U-Net", "CT-Pri")}
POSSIBLE = {
    ("U-Net", "CT-Pri"),
    ("U-Net", "MR"),
    ("FCN", "MR"),
    ("DeepLabv3", "MR"),
    ("Swin-U-Net", "X-ray"),
}
BELOW = {("U-Net", "X-ray"), ("DeepLabv3", "CT-Verse"), ("Swin-U-Net", "MR")}
"""Below the interval even where the std is over two groups."""
FAR = {
    ("nnU-Net", "MR"),
    ("MedSegDiff", "X-ray"),
    ("Verdiff-Net", "X-ray"),
    ("FCN", "X-ray"),
    ("DeepLabv3", "X-ray"),
    ("SAM", "CT-Pri"),
    ("SAM", "MR"),
    ("MedSegDiff", "CT-Verse"),
    ("MedSegDiff", "CT-Pri"),
    ("Verdiff-Net", "CT-Verse"),
    ("Verdiff-Net", "CT-Pri"),
}
Floats = NDArray[np.float64]


def printed(value: float, decimals: int = 2, cut: bool = False) -> Printed:
    """Return a fraction as a table prints it in percent: its digits rounded, or cut."""
    if cut:
        return Printed(math.floor(100 * value * 10**decimals) / 10**decimals / 100, decimals)
    return Printed(float(f"{100 * value:.{decimals}f}") / 100, decimals)


def cell(
    dice: Floats, ddof: int, n: int | None, decimals: int = 2, cut: bool = False
) -> PrintedCell:
    """Return what a table prints for these scores of images."""
    return grouped(dice, g(dice), ddof, n, decimals, cut)


def grouped(
    dice: Floats, iou: Floats, ddof: int, n: int | None, decimals: int, cut: bool
) -> PrintedCell:
    """Return what a table prints for these scores of images, or of groups of them."""
    values = (dice.mean(), dice.std(ddof=ddof), iou.mean(), iou.std(ddof=ddof))
    numbers = [printed(float(value), decimals, cut) for value in values]
    return PrintedCell("table", "net", "mr", *numbers, n=n)


def scores(rng: np.random.Generator, n: int) -> Floats:
    """Return Dice of n images: a mixture of two betas, often with some 0 or 1."""
    first, second = (rng.beta(*10 ** rng.uniform(-0.7, 2.5, 2), n) for _ in range(2))
    dice = np.where(rng.random(n) < rng.random(), first, second)
    dice[rng.random(n) < rng.choice([0, 0.02, 0.3])] = 0
    dice[rng.random(n) < rng.choice([0, 0.02, 0.3])] = 1
    return dice


@pytest.fixture(scope="module")
def table1() -> list[Finding]:
    return [audit(each) for each in read(published.FILES["table1"]).cells]


def named(findings: list[Finding], *verdicts: str) -> set[tuple[str, str]]:
    return {(each.cell.method, each.cell.dataset) for each in findings if each.verdict in verdicts}


def test_the_papers_table_1_has_27_cells_that_cannot_be(table1: list[Finding]) -> None:
    assert named(table1, "jensen") == JENSEN
    assert named(table1, "std") == STD
    assert named(table1, "ok") == POSSIBLE
    assert len(named(table1, "mean")) == 20
    text = summary(table1)
    assert text.startswith(f"27 of 32 cells {CANNOT}: 5 with a mean IoU below Jensen's floor, 20 ")
    assert "; 8 of them whatever the std is of (images, patients, folds or seeds)." in text
    assert "11 are off by more than half a point" in text


def test_eleven_are_off_by_more_than_half_a_point(table1: list[Finding]) -> None:
    far = [each for each in table1 if each.verdict != "std" and each.gap_points > 0.5]
    assert named(far, "jensen", "mean") == FAR
    worst = max(far, key=lambda each: each.gap_points)
    assert (worst.cell.method, worst.cell.dataset) == ("SAM", "CT-Pri")
    assert worst.gap_points == pytest.approx(9.0, abs=0.05)
    assert "IoU 76.35 is 9.00 points above 67.35" in worst.words


def test_the_gap_is_the_distance_to_the_interval(table1: list[Finding]) -> None:
    for each in table1:
        assert each.cell.iou_mean is not None
        assert each.iou_low is not None
        assert each.iou_high is not None
        off = max(each.iou_low - each.cell.iou_mean.high, each.cell.iou_mean.low - each.iou_high, 0)
        if each.verdict != "std":
            assert each.gap_points == pytest.approx(100 * off, abs=1e-9)


def test_table_2_has_no_std_and_keeps_the_floor() -> None:
    found = [audit(each) for each in read(published.FILES["table2"]).cells]
    assert [each.verdict for each in found] == ["ok"] * 4
    assert all("not checked: dice_std, iou_std" in each.words for each in found)


@pytest.mark.parametrize(
    ("mean", "std"), [(0.8036, 0.0344), (0.5, 0.49), (0.06, 0.1), (0.97, 0.09), (0.3, 0.02)]
)
def test_the_interval_is_sharp(mean: float, std: float) -> None:
    """Search all two-point distributions: none is outside, and one comes to each end."""
    found = interval((mean, mean), (std**2, std**2))
    assert found is not None

    def value(left: float) -> float:
        """Return the mean IoU of two atoms with this mean and std; one is `left` below the mean."""
        weight = std**2 / (std**2 + left**2)
        return weight * g(mean - left) + (1 - weight) * g(mean + std**2 / left)

    span = (std**2 / (1 - mean), mean)  # where both atoms are within 0 and 1
    values = [value(left) for left in np.linspace(*span, 10_001)]
    assert found[0] - 1e-12 <= min(values)
    assert max(values) <= found[1] + 1e-12
    for end, sign in zip(found, (1, -1), strict=True):
        best = minimize_scalar(
            lambda left, sign=sign: sign * value(left), bounds=span, options={"xatol": 1e-12}
        )
        assert sign * best.fun == pytest.approx(end, abs=1e-6)


def test_no_distribution_leaves_the_interval() -> None:
    rng = np.random.default_rng(3)
    for _ in range(2000):
        dice, weights = rng.beta(*10 ** rng.uniform(-1, 1.5, 2), 6), rng.dirichlet(np.full(6, 0.5))
        mean = float(weights @ dice)
        variance = float(weights @ (dice - mean) ** 2)
        found = interval((mean, mean), (variance, variance))
        assert found is not None
        assert found[0] - 1e-9 <= weights @ g(dice) <= found[1] + 1e-9


def test_both_ends_grow_with_mean_and_variance() -> None:
    """The span of the rounding is searched at its corners alone."""
    rng = np.random.default_rng(4)
    for _ in range(500):
        low, width = rng.uniform(0, 0.9), rng.uniform(0, 0.1)
        least = rng.uniform(0, 0.25) * low
        most = least + rng.uniform(0, 0.02)
        wide = interval((low, low + width), (least, most))
        for _ in range(20):
            mean, variance = rng.uniform(low, low + width), rng.uniform(least, most)
            inner = interval((mean, mean), (variance, variance))
            if inner is not None:
                assert wide is not None
                assert wide[0] - 1e-9 <= inner[0]
                assert inner[1] <= wide[1] + 1e-9


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 500),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1]),
    st.sampled_from([0, 1, 2, 4, 6]),
    st.booleans(),
)
@example(2, 0, 1, 2, False)
def test_true_scores_raise_no_alarm(n: int, seed: int, ddof: int, decimals: int, cut: bool) -> None:
    dice = scores(np.random.default_rng(seed), n)
    found = audit(cell(dice, ddof, n, decimals, cut))
    assert found.verdict == "ok", found.words


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "dice", [[0.0] * 30, [1.0] * 30, [0.0] * 15 + [1.0] * 15, [0.9] * 30, [0.0] * 29 + [1.0]]
)
@pytest.mark.parametrize("ddof", [0, 1])
def test_scores_at_the_edge_raise_no_alarm(dice: list[float], ddof: int, known: bool) -> None:
    found = audit(cell(np.array(dice), ddof, len(dice) if known else None))
    assert found.verdict == "ok", found.words


def true_cell(rng: np.random.Generator) -> PrintedCell:
    """Return a cell of a table whose numbers are true, however it prints them."""
    known, cut = rng.random() < 0.5, rng.random() < 0.5
    n = int(rng.integers(2 if known else 20, 400))
    ddof, decimals = int(rng.integers(2)), int(rng.choice([1, 2, 2, 3]))
    return cell(scores(rng, n), ddof, n if known else None, decimals, cut)


def of_groups(rng: np.random.Generator) -> PrintedCell:
    """Return a cell whose means and stds are over patients, folds or seeds."""
    cut, ddof, decimals = rng.random() < 0.5, int(rng.integers(2)), int(rng.choice([1, 2, 2, 3]))
    dice, iou = [], []
    centre, spread = rng.random(), rng.choice([0.01, 0.1, 0.5])
    for _ in range(int(rng.choice([2, 3, 5, 30]))):
        images = scores(rng, int(rng.integers(1, 60)))
        images = np.clip(images * spread + centre * (1 - spread), 0, 1)
        dice.append(images.mean())
        iou.append(g(images).mean())
    return grouped(np.array(dice), np.array(iou), ddof, None, decimals, cut)


def alarms(count: int) -> list[Finding]:
    """Return what is reported of true tables; of those over groups, what needs no kind of std."""
    rng = np.random.default_rng(35)
    wrong = []
    for _ in range(count):
        finding = audit(true_cell(rng))
        wrong += [finding] if finding.verdict != "ok" else []
        finding = audit(of_groups(rng))
        wrong += [finding] if finding.any_std else []
    return wrong


def test_true_tables_raise_no_alarm() -> None:
    assert alarms(100) == []


@pytest.mark.long
def test_ten_thousand_true_tables_raise_no_alarm() -> None:
    assert alarms(10_000) == []


def test_what_holds_whatever_the_std_is_of(table1: list[Finding]) -> None:
    assert {(each.cell.method, each.cell.dataset) for each in table1 if each.any_std} == (
        JENSEN | BELOW
    )
    assert not any(each.any_std for each in table1 if each.verdict == "ok")
    rng = np.random.default_rng(2)
    vanish = [audit(of_groups(rng)) for _ in range(60)]
    assert sum(each.verdict != "ok" for each in vanish) > 10
    assert "; 0 of them whatever the std is of" in summary(vanish)


@pytest.mark.parametrize("std", [None, Printed(0.04, 2), Printed(0.6, 2)])
def test_a_mean_iou_above_its_dice_has_a_verdict_of_its_own(std: Printed | None) -> None:
    swapped = PrintedCell("t", "m", "d", Printed(0.72, 2), std, Printed(0.83, 2), std)
    finding = audit(swapped)
    assert (finding.verdict, finding.any_std) == ("above", True)
    assert finding.gap_points == pytest.approx(10.985)
    assert finding.words.startswith("IoU 83.00 is 10.98 points above Dice 72.00, but no image has")
    assert "1 with a mean IoU above its mean Dice; 1 of them whatever" in summary([finding])


def test_cut_digits_are_considered() -> None:
    """Of 82.39 and the least IoU, both cut after a digit, the first looks too high if rounded."""
    dice = Printed(0.823, 1)
    assert (dice.low, dice.high) == (pytest.approx(0.8225), pytest.approx(0.824))
    least = PrintedCell("t", "m", "d", dice, None, printed(g(0.8225), 3, cut=True))
    assert audit(least).verdict == "ok"
    most = PrintedCell("t", "m", "d", Printed(0.823, 1), None, Printed(0.8239, 2))
    assert audit(most).verdict == "ok"


@pytest.mark.parametrize(("factor", "where"), [(1.3, "above"), (0.7, "below")])
def test_a_std_that_is_made_up_is_found(factor: float, where: str) -> None:
    true = cell(np.random.default_rng(1).beta(20, 4, 200), 1, 200)
    assert true.iou_std is not None
    wrong = replace(true, iou_std=printed(factor * true.iou_std.value))
    found = audit(wrong)
    assert found.verdict == "std"
    assert where in found.words
    nearest = true.iou_std.value * factor + (-1 if where == "above" else 1) * found.gap_points / 100
    assert audit(replace(true, iou_std=printed(nearest))).gap_points < 0.02


def test_a_std_of_dice_that_no_scores_have_is_found() -> None:
    found = audit(PrintedCell("t", "m", "d", Printed(0.9, 2), Printed(0.4, 2), Printed(0.85, 2)))
    assert (found.verdict, found.iou_low, found.iou_high) == ("std", None, None)
    assert "the most that its mean 90.00 allows" in found.words


def test_the_number_of_images_sharpens_the_std() -> None:
    one = {"dice_mean": Printed(0.8, 2), "dice_std": Printed(0.1, 2), "iou_mean": Printed(0.678, 2)}
    unknown, known = (
        audit(PrintedCell("t", "m", "d", **one)),
        audit(PrintedCell("t", "m", "d", **one, n=100_000)),
    )
    assert unknown.iou_low is not None
    assert known.iou_low is not None
    assert unknown.iou_low < known.iou_low


@pytest.mark.parametrize("spread", ["dice_std", "iou_std"])
def test_one_image_has_no_spread(spread: str) -> None:
    one = PrintedCell("t", "m", "d", Printed(0.8, 2), iou_mean=Printed(0.6667, 2), n=1)
    assert audit(one).verdict == "ok"
    assert audit(replace(one, **{spread: Printed(0.0, 2)})).verdict == "ok"
    finding = audit(replace(one, **{spread: Printed(0.05, 2)}))
    assert (finding.verdict, finding.any_std) == ("std", False)
    assert "is of one image (n = 1), which has no spread" in finding.words
    assert audit(replace(one, iou_mean=Printed(0.7, 2))).verdict == "mean"


def test_what_hangs_on_the_number_of_images_says_so(table1: list[Finding]) -> None:
    hanging = {
        (each.cell.method, each.cell.dataset) for each in table1 if "at least 20" in each.words
    }
    assert len(hanging) < 8
    assert not hanging & (JENSEN | {("SAM", "CT-Pri")})
    rng = np.random.default_rng(6)
    for _ in range(50):
        few = audit(cell(scores(rng, int(rng.integers(2, 20))), 1, None))
        assert few.verdict == "ok" or "if the images are at least 20" in few.words
