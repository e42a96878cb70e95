r"""The pieces of a paper's files, and what TeX takes of them as arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
"""From a per cent sign to the end of its line, unless a backslash quotes the sign."""
_VERBATIM = re.compile(
    r"\\begin\{(comment|verbatim\*?|lstlisting|minted|filecontents\*?)\}.*?\\end\{\1\}"
    r"|\\verb\*?([^A-Za-z*\s])[^\n]*?\2",
    re.DOTALL,
)
_TOKEN = re.compile(r"\\(?:[A-Za-z@]+|.)|[{}\[\]#]|\s+|[^\\{}\[\]#\s]+", re.DOTALL)
"""A command, a brace, bracket or #, blanks, or other text."""


class Token(NamedTuple):
    """A piece of a paper, with the place where a reader sees it."""

    text: str
    file: Path
    line: int
    depth: int = 0
    """In how many macros it stands."""


def tokens_of(path: Path) -> list[Token]:
    """Return a file's tokens without its comments and what is printed as it stands."""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    text = "\n".join(_COMMENT.sub(r"\1", line) for line in lines)
    text = _VERBATIM.sub(lambda match: "\n" * match[0].count("\n"), text)
    tokens, line = [], 1
    for match in _TOKEN.finditer(text):
        tokens.append(Token(match[0], path, line))
        line += match[0].count("\n")
    return tokens


def text_of(tokens: Sequence[Token]) -> str:
    """Return tokens as text."""
    return "".join(token.text for token in tokens)


def words_of(tokens: Sequence[Token]) -> str:
    """Return tokens as text with one blank between words."""
    return " ".join(text_of(tokens).split())


class Stream:
    """The tokens that wait to be read, the next one first."""

    def __init__(self, unclosed: Callable[[Token], None]) -> None:
        """Begin without tokens; `unclosed` is told each brace that is never closed."""
        self._unclosed = unclosed
        self._waiting: list[Token] = []
        """The last one is next."""

    def __bool__(self) -> bool:
        """Return whether a token waits."""
        return bool(self._waiting)

    def pop(self) -> Token:
        """Take the next token."""
        return self._waiting.pop()

    def peek(self) -> str:
        """Return the text of the next token; empty at the end."""
        return self._waiting[-1].text if self._waiting else ""

    def push(self, tokens: Sequence[Token]) -> None:
        """Put tokens before those that wait."""
        self._waiting.extend(reversed(tokens))

    def next_word(self) -> str:
        """Skip blanks; return the text of the token behind them, which stays."""
        while self.peek().isspace():
            self.pop()
        return self.peek()

    def argument(self) -> tuple[Token, ...] | None:
        """Take a macro's argument: a group without its braces, or one token."""
        text = self.next_word()
        if text in ("", "}"):
            return None
        first = self.pop()
        if text == "{":
            inner = self._until("}")
            if inner is None:
                self._unclosed(first)
            return inner
        if not text.startswith("\\") and len(text) > 1:
            self.push([first._replace(text=text[1:])])
            first = first._replace(text=text[0])
        return (first,)

    def option(self) -> tuple[Token, ...] | None:
        """Take an argument in brackets, if there is one."""
        if self.next_word() != "[":
            return None
        self.pop()
        return self._until("]")

    def _until(self, end: str) -> tuple[Token, ...] | None:
        """Take the tokens before the end of a group or option; none where it does not end."""
        taken: list[Token] = []
        braces = 0
        while self:
            token = self.pop()
            if token.text == end and not braces:
                return tuple(taken)
            taken.append(token)
            braces += (token.text == "{") - (token.text == "}")
            if braces < 0:
                break
        self.push(taken)
        return None

    def file_name(self) -> tuple[Token, ...]:
        r"""Take the name of a file: in braces, or up to a blank, as in `\input chap`."""
        if self.next_word() == "{":
            return self.argument() or ()
        taken: list[Token] = []
        while self and not self.peek().isspace():
            if self.peek() in ("{", "}", "\\relax"):
                break
            taken.append(self.pop())
        return tuple(taken)
