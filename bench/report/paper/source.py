r"""A paper as LaTeX reads it: its files in their order, with its own macros followed.

Not TeX: both branches of a conditional are read, and of what packages define nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.paper.definitions import DEFINERS, Macro, filled, meaning
from bench.report.paper.macros import CLAIMS, COUNTS, SCORES, Name
from bench.report.paper.tokens import Stream, Token, text_of, tokens_of, words_of
from bench.spec.errors import UsageError


@dataclass(frozen=True)
class Use:
    """A place in a paper that takes a number, or claims that one method is better than another."""

    file: Path
    line: int
    name: Name
    other: str = ""
    """The method that the claim is about too."""

    def __str__(self) -> str:
        """As the paper has it."""
        kind, *names = self.name
        return f"\\bench{kind}" + "".join(f"{{{name}}}" for name in (*names, self.other) if name)

    @property
    def is_open(self) -> bool:
        """Whether a name is only known when LaTeX runs, as `#1` in a macro that nothing uses."""
        return any(OPEN.search(part) for part in (*self.name, self.other))


@dataclass(frozen=True)
class Typed:
    """A number that a paper has as digits, not through a macro."""

    file: Path
    line: int
    text: str


@dataclass(frozen=True)
class Paper:
    """What a paper takes from its copy of `numbers.tex`."""

    numbers: tuple[Use, ...]
    claims: tuple[Use, ...]
    frozen: Mapping[Name, str]
    profile: str
    """Of the results that the copy was written from."""
    typed: tuple[Typed, ...] = ()
    unread: tuple[str, ...] = ()
    """What could not be followed, a line for each."""


OPEN = re.compile(r"#+\d|\\[A-Za-z@]+ ?")
"""A part of a name that stands for any."""
DEEPEST = 100
"""Macros within macros; one that goes deeper calls itself."""
MOST = 200_000
"""Macros that are followed in one paper."""
GLOBAL = {"gdef", "xdef"}
"""Commands whose definitions outlive the group that they stand in."""
OWN = {"benchset", "benchget", "benchProfile"}
"""What `numbers.tex` defines for its own use."""
INPUTS = {"input", "include", "subfile", "subfileinclude", "@input", "InputIfFileExists"}
"""Commands with the path of a file that is read in their place."""
IMPORTS = {
    "import": False,
    "inputfrom": False,
    "includefrom": False,
    "subimport": True,
    "subinputfrom": True,
    "subincludefrom": True,
}
"""Commands with a folder and a file, and whether the folder is relative to the file's own."""
NO_CONDITIONS = {"\\iff", "\\ifthenelse"}
"""Commands that begin as a condition does, and are none."""
SKIPPED = {"tikzpicture", "thebibliography"}
"""Environments whose numbers are no results."""

_TYPED = re.compile(r"(?<![\w.:=/])\d{1,3}\.\d+(?![\w/]|[.:]\w)")
"""A number with decimals, and no length, date or part of a name."""
_LENGTH = re.compile(r"\\\w*(width|height|depth|skip|sep|size|indent)$")
"""A command that a number before it multiplies."""
_KINDS = (*SCORES, *COUNTS, *CLAIMS)
"""All macros of `numbers.tex`."""


def read(path: Path) -> Paper:
    """Read a paper and all that it inputs.

    Raises:
        UsageError: It is not there, it inputs no `numbers.tex`, or takes no number from it.
    """
    if not path.is_file():
        raise UsageError(
            f"paper {path} is not there; expected a LaTeX file: bench report --check paper.tex"
        )
    reader = _Reader(path)
    reader.read()
    if not reader.frozen:
        raise UsageError(
            f"{path} inputs no numbers.tex; copy the one that bench report wrote beside it, and "
            "\\input{numbers.tex}"
        )
    if not reader.uses:
        raise UsageError(
            f"{path} takes no number from its numbers.tex; write \\benchDice{{dataset}}{{method}} "
            "for one"
        )
    claims = [use for use in reader.uses if use.name[0] in CLAIMS]
    unread = list(reader.unread)
    for use in claims:
        if use.is_open:
            unread.append(f"{use.file}:{use.line}: {use}, whose macro is not used, or not followed")
    return Paper(
        numbers=tuple(use for use in reader.uses if use.name[0] not in CLAIMS),
        claims=tuple(use for use in claims if not use.is_open),
        frozen=reader.frozen,
        profile=reader.profile,
        typed=tuple(dict.fromkeys(reader.typed)),
        unread=tuple(unread),
    )


def _is_file(path: Path) -> bool:
    """Return whether a name that may be anything is one of a file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class _Reader:
    """Takes a paper's tokens one after the other, as TeX does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uses: dict[Use, None] = {}
        self.frozen: dict[Name, str] = {}
        self.profile = ""
        self.typed: list[Typed] = []
        self.unread: dict[str, None] = {}
        self._stream = Stream(self._tell_unclosed)
        self._folders: dict[Path, Path] = {}
        """Each file that was read, with the folder in which its own inputs are looked for."""
        self._macros = {f"bench{kind}": Macro(kind) for kind in _KINDS}
        self._own: list[Macro] = []
        """The paper's own macros."""
        self._outer: list[dict[str, Macro]] = []
        """For each open group, what its redefined macros meant before it."""
        self._skipped = 0
        """Open environments of `SKIPPED`."""
        self._followed = 0
        """Macros that were followed."""
        self._counts = True
        """Whether numbers that are typed are counted."""

    def read(self) -> None:
        """Read the paper, then the macros of its own that nothing used."""
        self._open(self.path, self.path.parent)
        self._run()
        self._counts = False
        for macro in self._own:
            if not macro.is_used:
                self._stream.push(macro.body)
                self._run()

    def _run(self) -> None:
        while self._stream:
            token = self._stream.pop()
            name = token.text[1:]
            if token.text in ("{", "\\begingroup", "\\bgroup"):
                self._outer.append({})
            elif token.text in ("}", "\\endgroup", "\\egroup"):
                self._close()
            elif token.text.startswith("\\"):
                self._command(name, token)
            elif self._counts and not self._skipped:
                self._count(token)

    def _command(self, name: str, token: Token) -> None:
        if name in DEFINERS:
            self._define(name)
        elif name == "benchset":
            self._set()
        elif name == "benchget":
            self._get(token)
        elif name in self._macros:
            self._follow(self._macros[name], token)
        elif name == "iffalse":
            self._skip_branch(token)
        elif name in ("begin", "end"):
            self._environment(name)
        elif name in INPUTS or name in IMPORTS:
            self._input(name, token)
        elif name in ("usepackage", "documentclass"):
            self._package(name, token)

    def _tell_unclosed(self, brace: Token) -> None:
        self.unread[f"{brace.file}:{brace.line}: a brace that is never closed"] = None

    def _close(self) -> None:
        """Leave a group: what it redefined is as before."""
        if self._outer:
            self._macros |= self._outer.pop()

    def _groups(self, count: int) -> list[str]:
        """Take arguments in braces, as many as there are up to a number, as words."""
        texts: list[str] = []
        while len(texts) < count and self._stream.next_word() == "{":
            texts.append(words_of(self._resolved(self._stream.argument() or ())))
        return texts

    def _resolved(self, tokens: Sequence[Token]) -> list[Token]:
        """Return tokens with the paper's macros without parameters in place, as far as known."""
        waiting = list(reversed(tokens))
        resolved: list[Token] = []
        while waiting:
            token = waiting.pop()
            macro = self._macros.get(token.text[1:]) if token.text.startswith("\\") else None
            if macro and not macro.kind and not macro.parameters and self._may_follow(token):
                waiting.extend(reversed(filled(macro.body, (), token)))
            else:
                resolved.append(token)
        return resolved

    # Macros

    def _define(self, definer: str) -> None:
        """Take a definition."""
        if self._stream.next_word() == "*":
            self._stream.pop()
        name = words_of(self._stream.argument() or ()).removeprefix("\\")
        macro = meaning(self._stream, DEFINERS[definer], self._macros)
        of_numbers_tex = name in self._macros and self._macros[name].kind != ""
        if name == "benchProfile":
            self.profile = words_of(macro.body)
        if name in OWN or (definer == "DeclareRobustCommand" and of_numbers_tex):
            return
        if definer.lower().startswith("provide") and name in self._macros:
            return
        self._own.append(macro)
        for group in self._outer:
            if definer in GLOBAL:
                group.pop(name, None)
        if self._outer and name in self._macros and definer not in GLOBAL:
            self._outer[-1].setdefault(name, self._macros[name])
        self._macros[name] = macro

    def _follow(self, macro: Macro, token: Token) -> None:
        """Put a macro's meaning in its place."""
        if macro.kind:
            self._use(macro.kind, token)
            return
        if not macro.is_plain:
            return
        if not self._may_follow(token):
            return
        macro.is_used = True
        values = []
        for default in macro.parameters:
            value = self._stream.option() if default is not None else self._stream.argument()
            values.append(default if value is None else value)
        self._stream.push(filled(macro.body, values, token))

    def _may_follow(self, token: Token) -> bool:
        """Return whether a macro is not too deep in others, and count it."""
        self._followed += 1
        if token.depth < DEEPEST and self._followed <= MOST:
            return True
        if self._followed <= MOST + 1:  # later ones are of the same cause
            self.unread[f"{token.file}:{token.line}: {token.text} calls itself, or too many"] = None
        return False

    def _use(self, kind: str, token: Token) -> None:
        """Note a use of a macro of `numbers.tex`."""
        count = 2
        if kind in COUNTS:
            count = 1
        elif kind in CLAIMS:
            count = 3
        names = self._groups(count)
        if len(names) == count:  # else the name alone, as in \string\benchDice
            dataset, method, other = (*names, "", "")[:3]
            self.uses[Use(token.file, token.line, (kind, dataset, method), other)] = None

    # What numbers.tex is made of

    def _set(self) -> None:
        """Take a number of `numbers.tex`."""
        kind, dataset, method = (words_of(self._stream.argument() or ()) for _ in range(3))
        self.frozen[kind, dataset, method] = text_of(self._stream.argument() or ())

    def _get(self, token: Token) -> None:
        r"""Note a use of \benchget, which the macros of `numbers.tex` stand for."""
        names = self._groups(3)
        if len(names) == 3:
            kind, dataset, method = names
            self.uses[Use(token.file, token.line, (kind, dataset, method))] = None

    # Files

    def _open(self, path: Path, folder: Path) -> None:
        """Continue with a file, where it was not read yet."""
        if path not in self._folders:
            self._folders[path] = folder
            self._stream.push(tokens_of(path))

    def _input(self, command: str, token: Token) -> None:
        """Continue with the file that a command names."""
        if self._stream.next_word() == "*":
            self._stream.pop()
        root = self.path.parent
        folder = self._folders.get(token.file, root)
        if command in IMPORTS:
            beside = folder if IMPORTS[command] else root
            folder = beside / words_of(self._stream.argument() or ())
        name = words_of(self._resolved(self._stream.file_name())).strip('"')
        for place in (folder, root):
            for path in (place / f"{name}.tex", place / name):
                if _is_file(path):
                    self._open(path, folder)
                    return
        self.unread[f"{token.file}:{token.line}: \\{command} of {name}: no such file"] = None

    def _package(self, command: str, token: Token) -> None:
        """Continue with a style beside the paper, where it uses the numbers."""
        self._stream.option()
        suffix = "sty" if command == "usepackage" else "cls"
        for name in words_of(self._stream.argument() or ()).split(","):
            path = self.path.parent / f"{name.strip()}.{suffix}"
            if _is_file(path) and "bench" in path.read_text("utf-8", errors="replace"):
                self._open(path, self.path.parent)

    # What is not printed, and what is typed

    def _skip_branch(self, begin: Token) -> None:
        r"""Take what stands between \iffalse and its \else or \fi."""
        taken: list[Token] = []
        inner = 0
        while self._stream:
            token = self._stream.pop()
            taken.append(token)
            if not inner and token.text in ("\\fi", "\\else"):
                return
            opens = token.text.startswith("\\if") and token.text not in NO_CONDITIONS
            inner += opens - (token.text == "\\fi")
        self.unread[f"{begin.file}:{begin.line}: \\iffalse that never ends"] = None
        self._stream.push(taken)

    def _environment(self, command: str) -> None:
        r"""Take the name behind \begin or \end, and open or close its group."""
        name = "".join(self._groups(1))
        if name == "document":
            if command == "begin":
                self.typed.clear()  # numbers of the preamble are lengths
            return
        if command == "begin":
            self._outer.append({})
            self._skipped += name in SKIPPED
        else:
            self._close()
            self._skipped = max(0, self._skipped - (name in SKIPPED))

    def _count(self, token: Token) -> None:
        """Note the numbers in a word."""
        if _LENGTH.match(self._stream.peek()):
            return
        for match in _TYPED.finditer(token.text):
            self.typed.append(Typed(token.file, token.line, match[0]))
