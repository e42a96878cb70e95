from __future__ import annotations

from pathlib import Path

from bench.launch import worker


def test_a_cell_prints_utf8_into_its_log_and_no_name_adds_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with path.open("ab") as file:
        log = worker.log_to(file.fileno())
        print("Łukasz\tplain", file=log)
        print("\x1b[31mred\u2028done  mr/unet\x07", "10 %\r20 %", file=log)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "Łukasz  plain",
        "\\x1b[31mred\\u2028done  mr/unet\\x07 10 %",
        "20 %",
    ]
