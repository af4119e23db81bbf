"""The example pipeline uses commands and options that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from edgeward.cli import app
from tests.conftest import REPOSITORY


def _commands(path: Path) -> list[list[str]]:
    """The words of every `edgeward …`, folded lines joined."""
    text = re.sub(r"\n +--", " --", path.read_text())
    lines = [line.strip().removeprefix("run: ") for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("edgeward ")]


def test_every_command_of_the_pipeline_parses() -> None:
    commands = _commands(REPOSITORY / "examples" / "ci_pipeline" / "release.yml")
    assert [words[1] for words in commands] == ["convert", "verify", "registry", "fleet"]
    for words in commands:
        _parse(typer.main.get_command(app), words[1:])


def _parse(command: Any, words: list[str]) -> None:
    """Let typer parse the words without doing anything. Raises UsageError for what it does not know."""
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)
