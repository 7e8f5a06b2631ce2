"""Arguments into a frozen dataclass, by tyro; what it says over several lines of a box is said in one."""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro

from isoloss.cli._usage import UsageError

PROGRAM = "isoloss"
HELP_INDENT = 8
"""Columns by which tyro indents the help text of an option that it names in an error."""


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
        raise UsageError(flat(said.getvalue())) from None


def flat(box: str) -> str:
    """The message inside tyro's box as one line, without help texts."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        text = line.strip("│ ")
        if line.startswith(("╭", "╰")) or line.startswith("│" + " " * HELP_INDENT):
            continue
        if text and not text.strip("─"):
            parts.append([])
        elif text:
            parts[-1].append(text)
    aside = ("Argument helptext", "For full helptext")
    kept = [" ".join(part).rstrip(".") for part in parts if part and not part[0].startswith(aside)]
    # An error of a dataclass's own checks says by itself where it comes from.
    kept = [re.sub(r"^Error parsing [A-Z]\w*: ", "", part) for part in kept]
    asked = re.search(rf"({PROGRAM}(?: \w+)*) --help", box)
    return "; ".join([*kept, f"see {asked.group(1) if asked else PROGRAM} --help."])
