"""Arguments into a frozen dataclass, by tyro; what it says over several lines of a box is said in one."""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro

from isoloss.cli._usage import UsageError

PROGRAM = "isoloss"
CONTENT = range(2, 10)
"""Columns in which tyro begins a line of a message; its frame and title begin before, help texts after."""


def parse(commands: Mapping[str, type], arguments: Sequence[str]) -> Any:
    """The chosen command as an instance of its dataclass.

    Args:
        commands: Dataclasses by the name of the subcommand.
        arguments: Those after the program's name.

    Raises:
        UsageError: If the arguments fit no command.
        SystemExit: With code 0 after printing help.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                dict(commands),
                prog=PROGRAM,
                args=list(arguments),
                description="Symmetries of neural-network parameters.",
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        asked = next((f"{PROGRAM} {name}" for name in commands if name in arguments[:1]), PROGRAM)
        raise UsageError(f"{flat(said.getvalue())}; see {asked} --help.") from None


def flat(box: str) -> str:
    """The message inside tyro's box, drawn in Unicode or in ASCII, as one line without help texts."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).replace("│", " ").splitlines():
        text = line.strip()
        if len(line) - len(line.lstrip()) not in CONTENT or not text:
            continue
        if text.strip("─-"):
            parts[-1].append(text)
        else:
            parts.append([])
    messages = [" ".join(part).rstrip(".") for part in parts if part]
    aside = ("Argument helptext", "For full helptext")
    kept = [message for message in messages if not message.startswith(aside)]
    # An error of a dataclass's own checks says by itself where it comes from.
    kept = [re.sub(r"^Error parsing [A-Z]\w*: ", "", message) for message in kept]
    return "; ".join(kept)
