from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bench.audit.audit import audit
from bench.audit.printed import Printed, read
from bench.spec.errors import UsageError

HEADER = "method,dataset,dice_mean,dice_std,iou_mean,iou_std"


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return path


def approx(value: float, decimals: int) -> Printed:
    return Printed(pytest.approx(value), decimals)


def test_digits_are_read_as_they_are_printed(tmp_path: Path) -> None:
    (cell,) = read(table(tmp_path, "U-Net,MR,83.20,4.1,71,3.23")).cells
    assert cell.dice_mean == Printed(pytest.approx(0.832), 2)
    assert cell.dice_mean is not None
    assert cell.dice_mean.half == pytest.approx(0.00005)
    assert cell.dice_std is not None
    assert cell.dice_std.half == pytest.approx(0.0005)
    assert cell.iou_mean is not None
    assert (cell.iou_mean.half, str(cell.iou_mean)) == (pytest.approx(0.005), "71")
    assert (cell.table, cell.method, cell.dataset, cell.n) == ("mine", "U-Net", "MR", None)


def test_fractions_are_recognised(tmp_path: Path) -> None:
    results = read(table(tmp_path, "U-Net,MR,0.8320,0.04,1,"))
    (cell,) = results.cells
    assert not results.percent
    assert cell.dice_mean == Printed(0.832, 2)
    assert str(cell.dice_mean) == "83.20"
    assert cell.iou_mean is not None
    assert cell.iou_mean.half == 0.5
    assert cell.iou_std is None


def test_what_is_not_given_is_missing(tmp_path: Path) -> None:
    header = "method,dataset,dice_mean,n,table,iou_mean"
    results = read(
        table(tmp_path, "U-Net,MR,83.2 %,40,first,72.1", "FCN,MR,-,,second,", header=header)
    )
    assert results.absent == ("dice_std", "iou_std")
    assert [(cell.table, cell.n) for cell in results.cells] == [("first", 40), ("second", None)]
    assert results.cells[1].dice_mean is None


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["U-Net,MR,83,25,4,08,71,35,3,23"],
            r"line 2, column dice_mean: '83,25' has a decimal comma; write 83\.25",
        ),
        (
            ['U-Net,MR,83.25,"4,08",71.35,3.23'],
            r"line 2, column dice_std: '4,08' has a decimal comma; write 4\.08",
        ),
        (
            ["U-Net,MR,83.25,4,71,3", "FCN,MR,101,4,71,3"],
            "line 3, column dice_mean: 101 is more than 100 %",
        ),
        (["U-Net,MR,101 %,4,71,3"], "line 2, column dice_mean: 101 is more than 100 %"),
        (
            ["U-Net,MR,0.8,0.1,1.2,0.1"],
            "line 2, column iou_mean: 1.2 is more than 100 % .* as fractions",
        ),
        (
            ["U-Net,MR,83.25,4.08,71.35,-3.23"],
            "line 2, column iou_std: -3.23 is negative; expected a std",
        ),
        (
            ["U-Net,MR,-83.25,4.08,71.35,3.23"],
            "line 2, column dice_mean: -83.25 is negative; expected a mean",
        ),
        (["U-Net,MR,ours,4.08,71.35,3.23"], "line 2, column dice_mean: 'ours' is no number"),
        (["U-Net,MR,inf,4.08,71.35,3.23"], "line 2, column dice_mean: 'inf' is no number"),
        (["U-Net,MR,83.25,4.08,71.35"], "line 2: column iou_std is missing, 5 fields"),
        (
            ["Net, big,MR,83.25,4.08,71.35,3.23"],
            "line 2: 7 fields where the header has 6; put names",
        ),
        ([",MR,83.25,4.08,71.35,3.23"], "line 2, column method: nothing is there"),
        ([], "no line below its header"),
    ],
)
def test_bad_input_is_named_by_line_and_column(lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"mine\.csv.*{says}"):
        read(table(tmp_path, *lines))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("method,dataset,dice_std,iou_mean,iou_std", "line 1: column dice_mean is missing"),
        (
            "method,dataset,dice_mean,dice_stdev,iou_mean,iou_std",
            "column dice_std is missing; is 'dice_stdev' meant",
        ),
        ("method;dataset;dice_mean", "line 1: column iou_mean is missing"),
        ("method,dataset,dice_mean,dice_mean,iou_mean", "line 1: column dice_mean is there twice"),
        ("", "is empty"),
    ],
)
def test_a_header_that_is_no_use_is_refused(header: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        read(table(tmp_path, header=header))


@pytest.mark.parametrize("number", ["1e99999999999999999999", "0e400", "0." + "85" * 3000])
def test_a_number_beyond_all_tables_is_refused(number: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 2, column dice_mean: '.*' is no number; expected"):
        read(table(tmp_path, f"U-Net,MR,{number},,0.7,"))


def test_cases_are_no_images(tmp_path: Path) -> None:
    header = "method,dataset,dice_mean,iou_mean,cases,n"
    with_n, without = read(
        table(tmp_path, "U-Net,MR,83.2,72.1,3,40.0", "FCN,MR,83.2,72.1,3,", header=header)
    ).cells
    assert (with_n.n, without.n) == (40, None)


@pytest.mark.parametrize("n", ["0", "-3", "many", "2.5", "1.000", "9" * 5000])
def test_a_number_of_images_is_whole(n: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"line 2, column n: '{n[:40]}' is no number of images"):
        read(
            table(tmp_path, f"U-Net,MR,83.2,72.1,{n}", header="method,dataset,dice_mean,iou_mean,n")
        )


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv cannot be read \(No such file"):
        read(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is damaged utf-16-le; save it as UTF-8"):
        read(tmp_path / "binary.csv")


def test_a_spreadsheet_writes_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    text = "Method;Dataset;Dice mean;IoU-Mean\r\nNA;MR;83,20;71\r\nnull;MR;83.2 %;n/a\r\n"
    path.write_bytes(text.encode("utf-16"))
    first, second = read(path).cells
    assert (first.method, second.method) == ("NA", "null")
    assert (first.dice_mean, first.iou_mean) == (approx(0.832, 2), approx(0.71, 0))
    assert (second.dice_mean, second.iou_mean) == (approx(0.832, 1), None)
    path.write_text("method;dataset;dice_mean;iou_mean\nU-Net;MR;1.083,2;71\n")
    with pytest.raises(UsageError, match=r"line 2, column dice_mean: '1\.083,2' holds a comma and"):
        read(path)


def test_a_guessed_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes("method,dataset,dice_mean,iou_mean\nMüller,MR,83,71\n".encode("cp1252"))
    results = read(path)
    assert results.cells[0].method == "Müller"
    assert "mine.csv is read as cp1252" in results.remark


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["U-Net,MR,83.25,4.08,71.35,3.23", "FCN,MR,0.81,0.04,0.70,0.03"],
            "line 3 looks like fractions, line 2 like percent; expected one of them in all rows",
        ),
        (["FCN,MR,0.81,,0.70,", "U-Net,MR,0.8,,71 %,"], "line 2 looks like fractions, line 3"),
        (["FCN,MR,,,0.70,", "U-Net,MR,1.6,,1,"], "line 2 looks like fractions, line 3 like"),
        (["FCN,MR,81,4,0.70,0.04"], r"line 2: one mean looks like a fraction \(0\.70\), the other"),
    ],
)
def test_fractions_beside_percent_are_refused(lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"mine\.csv {says}"):
        read(table(tmp_path, *lines))


PERCENT = ("84.64", "4.72", "73.66", "7.08")
FRACTIONS = ("0.8464", "0.0472", "0.7366", "0.0708")
"""Moments of one vector of scores."""


@pytest.mark.parametrize("above", [[], [",".join(("U-Net", "MR", *PERCENT))]])
@pytest.mark.parametrize("fractions", [p for p in itertools.product((0, 1), repeat=4)][1:-1])
@pytest.mark.parametrize("sign", ["", "%"])
@pytest.mark.parametrize("digits", [0, 2])
def test_units_mixed_within_a_row_are_refused(
    above: list[str], fractions: tuple[int, ...], sign: str, digits: int, tmp_path: Path
) -> None:
    numbers = []
    for is_fraction, percent, fraction in zip(fractions, PERCENT, FRACTIONS, strict=True):
        numbers.append(fraction[: len(fraction) - digits] if is_fraction else percent + sign)
    path = table(tmp_path, *above, ",".join(["FCN", "MR", *numbers]))
    with pytest.raises(UsageError, match=r"mine\.csv line .* put % behind numbers"):
        [audit(cell) for cell in read(path).cells]


def test_moments_in_one_unit_keep_their_verdicts(tmp_path: Path) -> None:
    for row in (PERCENT, FRACTIONS, [f"{number} %" for number in PERCENT]):
        (cell,) = read(table(tmp_path, ",".join(["FCN", "MR", *row]))).cells
        assert audit(cell).verdict == "ok"


def test_small_percentages_say_what_they_are(tmp_path: Path) -> None:
    rows = ["U-Net,MR,83.25,4.08,71.35,3.23", "FCN,MR,0.8 %,,0.5,", "SAM,MR,0,0,0.0,"]
    _, small, none = read(table(tmp_path, *rows)).cells
    assert small.dice_mean == Printed(pytest.approx(0.008), 1)
    assert small.iou_mean == Printed(0.005, 1)
    assert none.dice_mean == Printed(0.0, 0)
