from __future__ import annotations

from pathlib import Path

from bench.report.figures.style import save, sheet


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    paths = [tmp_path / "figure.png", tmp_path / "figure.pdf"]
    with sheet(2, 2) as figure:
        figure.suptitle("$^0^$")
        figure.subplots().set_title(r"$\frac{1$")
        save(figure, paths)
    assert all(path.is_file() for path in paths)
