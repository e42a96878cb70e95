"""Changes to a results folder, a table of them over every file of a small finished matrix."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Alter = Callable[[Path], object]
VALUES = ("nan", "inf", "-1", "1e400", "0.5", "", "/etc/hostname", "../../x", "\x1b[31m")
"""What stands in the place of a value of a table."""
FIELDS = 120
"""Fields of a file that are changed."""
HUGE = 2**31
"""Bytes of a file that nothing may read whole; it takes no room on the disk."""


@dataclass(frozen=True)
class Change:
    """One change to one file."""

    file: str
    """Its path in the profile's folder."""
    what: str
    alter: Alter

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def changes(folder: Path) -> Iterator[Change]:
    """Yield the changes to every file of a profile's folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        name = path.relative_to(folder).as_posix()
        for what, alter in ANYWHERE.items():
            yield Change(name, what, alter)
        if path.suffix == ".csv":
            yield from of_table(name, path)
        if path.suffix == ".json":
            yield from of_json(name, path)
        other = sibling(path)
        if other is not None:
            yield Change(name, "another cell's", lambda file, other=other: shutil.copy(other, file))
    for cell in sorted(path.parent for path in folder.rglob("cell.json")):
        name = cell.relative_to(folder).as_posix()
        for seed in ("f0-s36", "f1of5-s35", "f0-s35-fraction0.5"):
            yield Change(f"{name}/../{seed}", "copied to another place", copied(cell))
        yield Change(f"{name}/../../fcn/f0-s35", "copied to another method", copied(cell))
        yield Change(f"{name}/../../../mr@real-00000000/unet/f0-s35", "moved", copied(cell))


def copied(cell: Path) -> Alter:
    """Return what copies a cell to another place."""

    def copy(target: Path) -> None:
        shutil.copytree(cell, Path(os.path.normpath(target)))

    return copy


def sibling(path: Path) -> Path | None:
    """Return a file of the same name in another cell, if it is another's."""
    for other in sorted(path.parents[1].parent.rglob(path.name)):
        if other.read_bytes() != path.read_bytes():
            return other
    return None


def replaced(make: Callable[[Path], object]) -> Alter:
    """Return what puts something else in the place of a file."""

    def alter(path: Path) -> None:
        path.unlink()
        make(path)

    return alter


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


ANYWHERE: dict[str, Alter] = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bit flipped": flipped,
    "garbage": lambda path: path.write_bytes(b"\xff\xfe\0garbage\n" * 9),
    "a folder": replaced(Path.mkdir),
    "a pipe": replaced(os.mkfifo),
    "huge": replaced(sparse),
    "a link to nothing": replaced(lambda path: path.symlink_to("nothing")),
}


def of_table(name: str, path: Path) -> Iterator[Change]:
    """Yield the changes to the rows and values of a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    header, *rows = [line.split(",") for line in lines]

    def written(lines: list[list[str]]) -> Alter:
        text = "".join(",".join(line) + "\n" for line in [header, *lines])
        return lambda file: file.write_text(text)

    yield Change(name, "a row removed", written(rows[1:]))
    yield Change(name, "a row doubled", written([rows[0], *rows]))
    yield Change(name, "a row instead of another", written([rows[0], *rows[:-1]]))
    yield Change(name, "a value removed", written([rows[0][:-1], *rows[1:]]))
    yield Change(name, "a value added", written([[*rows[0], "1"], *rows[1:]]))
    for column, heading in enumerate(header):
        for value in VALUES:
            line = [value if place == column else old for place, old in enumerate(rows[0])]
            if line != rows[0]:
                yield Change(name, f"{heading} is {value!r}", written([line, *rows[1:]]))
        without = [heading for place, heading in enumerate(header) if place != column]
        lines = [[v for place, v in enumerate(row) if place != column] for row in rows]
        text = "".join(",".join(line) + "\n" for line in [without, *lines])
        yield Change(name, f"no column {heading}", lambda file, text=text: file.write_text(text))


def of_json(name: str, path: Path) -> Iterator[Change]:
    """Yield the changes to each field of a file in JSON."""
    for place in list(places(read(path)))[:FIELDS]:
        said = ".".join(map(str, place))
        for value in (..., None, "/etc/x", -1, 1e300, [], {"a": 1}):
            if value == at(path, place):
                continue
            what = "removed" if value is ... else f"is {value!r}"

            def alter(file: Path, place: tuple[Any, ...] = place, value: Any = value) -> None:
                whole = read(file)
                inside = whole
                for key in place[:-1]:
                    inside = inside[key]
                if value is ...:
                    del inside[place[-1]]
                else:
                    inside[place[-1]] = value
                file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

            yield Change(name, f"{said} {what}", alter)


def read(path: Path) -> Any:
    """Return what a file in JSON says."""
    return json.loads(path.read_text(encoding="utf-8"))


def at(path: Path, place: tuple[Any, ...]) -> Any:
    """Return the value of a field."""
    value = read(path)
    for key in place:
        value = value[key]
    return value


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each field, those inside others too; of a list its first alone."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))[:1]
    for key, part in inside:
        yield (*above, key)
        yield from places(part, (*above, key))
