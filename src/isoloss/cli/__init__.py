"""The command line: `isoloss demo`, `isoloss inspect`, `isoloss learn`, `isoloss reproduce`."""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those after the program's name; taken from the process if absent.

    Returns:
        Exit code: 0, 1 if training diverged, 2 for arguments or input that cannot be used, 130 if interrupted.
    """
    try:
        import rich  # noqa: F401
        import tyro  # noqa: F401
    except ImportError:
        print("isoloss: the command line needs tyro and rich: pip install 'isoloss[cli]'.", file=sys.stderr)
        return 2
    from isoloss.cli._main import run

    return run(sys.argv[1:] if arguments is None else arguments)
