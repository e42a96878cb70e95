"""`bench new method`: a file with a method that runs, and its test, to begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.spec import registry
from bench.spec.errors import UsageError
from bench.store.layout import make_folder

NAME = re.compile("[a-z][a-z0-9_]{0,60}")
METHOD = '''"""{title}: what it is, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.spec.method import Inputs, Method, Task
from bench.spec.options import option


@dataclass(frozen=True)
class {cls}(Method):
    """Say what it is; the fields are the options of its name (`{cls}:width=16`)."""

    width: int = option(16, "channels of the hidden layer", low=1)

    title = "{title}"
    source = "where it is published, and whose code this is"
    inputs = Inputs(multiple=1, normalise="zscore")  # padded to a multiple; mean 0, deviation 1
    scales = {{"small": {{"width": 8}}, "tiny": {{"width": 4}}}}  # under the profiles cpu and smoke

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how it differs from its source; every table prints it."""
        return ("a placeholder of two convolutions",)

    def build(self, task: Task) -> nn.Module:
        """Return the network: (B, 1, H, W) to logits (B, 1, H, W), weights by the seed alone."""
        return nn.Sequential(
            nn.Conv2d(1, self.width, 3, padding="same"),
            nn.ReLU(),
            nn.Conv2d(self.width, 1, 3, padding="same"),
        )

    # `loss` and `predict` are binary cross entropy + Dice, and the sigmoid, unless you write them.
'''
TEST = '''"""The contract that every method fulfils: any size, seeds, no network access."""

from bench.testing import check_method

from {name} import {cls}


def test_it_is_a_method() -> None:
    check_method({cls})
'''

app = typer.Typer(no_args_is_help=True, help="Begin something of your own.")


@app.callback()
def begin() -> None:
    """Begin something of your own."""


@app.command("method")
def method(
    name: Annotated[str, typer.Argument(help="Its file's name: small letters, digits and _.")],
    to: Annotated[Path, typer.Option("--to", help="The folder of the two files.")] = Path(),
) -> None:
    """Write NAME.py, a method that runs, and test_NAME.py; change the first one.

    Examples:

        bench new method my_net

        bench new method my_net --to experiments
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name of a module; expected one such as my_net")
    if name in registry.names(registry.METHODS):
        raise UsageError(f"'{name}' is a method that is there already; choose another name")
    words = [word for word in name.split("_") if word]
    cls = "".join(word[:1].upper() + word[1:] for word in words)
    texts = {
        f"{name}.py": METHOD.format(cls=cls, title=" ".join(words).capitalize()),
        f"test_{name}.py": TEST.format(name=name, cls=cls),
    }
    make_folder(to, "method", "--to")
    for file in texts:
        if (to / file).exists():
            raise UsageError(f"{to / file} is there already; choose another name, or remove it")
    for file, text in texts.items():
        (to / file).write_text(text, encoding="utf-8")
        options.say(f"{to / file}")
    given = to / f"{name}.py"
    place = str(given) if given.is_absolute() else f"./{given.as_posix()}"
    options.say(f"Test it:  pytest {to / f'test_{name}.py'}")
    options.say(f"Run it:   bench run --methods unet,{place}:{cls} --datasets mr --profile smoke")
