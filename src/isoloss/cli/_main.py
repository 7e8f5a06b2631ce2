"""Which command runs, and how one that fails ends: a line on stderr and an exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import isoloss
from isoloss.cli._demo import demo
from isoloss.cli._inspect import Inspect, inspect
from isoloss.cli._learn import Learn, learn
from isoloss.cli._parse import parse
from isoloss.cli._reproduce import Reproduce, run_experiments
from isoloss.cli._usage import UsageError, one_line
from isoloss.demo import Settings
from isoloss.learn import DivergenceError

COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "demo": (Settings, demo),
    "inspect": (Inspect, inspect),
    "learn": (Learn, learn),
    "reproduce": (Reproduce, run_experiments),
}
"""For each subcommand the dataclass of its options and what it does."""

FAILED = 1
USAGE = 2
INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name and return the exit code."""
    if list(arguments) == ["--version"]:
        print(f"isoloss {isoloss.__version__}")
        return 0
    try:
        options = parse({name: options for name, (options, _) in COMMANDS.items()}, arguments)
        next(act for kind, act in COMMANDS.values() if isinstance(options, kind))(options)
    except UsageError as error:
        return _fail(str(error), USAGE)
    except DivergenceError as error:
        return _fail(one_line(error), FAILED)
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us (head, less) is gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _fail(message: str, code: int) -> int:
    print(f"isoloss: {message}", file=sys.stderr)
    return code
