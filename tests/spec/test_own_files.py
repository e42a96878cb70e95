"""A method in a file of one's own: its digest is part of its name, so of every hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.spec import own_files, registry
from bench.spec.errors import UsageError

METHOD = '''
from dataclasses import dataclass
from torch import nn
from bench.spec.method import Method
from bench.spec.options import option

@dataclass(frozen=True)
class Mine(Method):
    """One convolution."""
    width: int = option(3, "size", low=1)
    title = "Mine"
    source = "mine"

    def build(self, task):
        return nn.Conv2d(1, 1, self.width, padding="same")
'''


def test_a_file_gives_a_method_with_options(tmp_path: Path) -> None:
    file = tmp_path / "my_method.py"
    file.write_text(METHOD, encoding="utf-8")
    (spec,) = registry.expand(registry.METHODS, f"{file}:Mine:width=5")
    name, digest = spec.name.split("@")
    assert (name, spec.options) == ("Mine", ("width=5",))
    assert registry.method(spec).width == 5  # type: ignore[attr-defined]
    file.write_text(METHOD + "\n# changed\n", encoding="utf-8")
    (other,) = registry.expand(registry.METHODS, f"{file}:Mine")
    assert other.name != spec.name
    assert registry.method(spec).title == "Mine"  # the copy of the first file is kept
    copy = own_files.source(spec.name)
    assert copy is not None
    assert copy.read_text(encoding="utf-8") == METHOD
    assert len(digest) == own_files.DIGITS


@pytest.mark.parametrize(
    ("content", "given", "line"),
    [
        (METHOD, "my_method.py", "names no class"),
        (METHOD, "lost.py:Mine", "cannot be read"),
        (METHOD, "my_method.py:Mime", "did you mean 'Mine'"),
        (METHOD, "my_method.py:Mine:depth=2", "has no option 'depth'"),
        ("import nowhere_at_all", "my_method.py:Mine", "no files beside it"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, given: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_method.py").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        registry.expand(registry.METHODS, given)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_copy_that_changed_or_is_lost_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.py"
    file.write_text(METHOD.replace("One", "Another"), encoding="utf-8")
    name = own_files.enter(f"{file}:Mine")
    copy = own_files.source(name)
    assert copy is not None
    copy.write_text("x = 1", encoding="utf-8")
    with pytest.raises(UsageError, match="has changed"):
        own_files.source(name)
    copy.unlink()
    with pytest.raises(UsageError, match=r"give it again: FILE\.py:Mine"):
        own_files.source(name)
