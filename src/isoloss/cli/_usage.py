"""Mistakes that whoever called can mend: one line and exit code 2, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """An argument or an input that cannot be used; the message is one line."""


@contextmanager
def usable() -> Iterator[None]:
    """Turn the errors that the library raises about its input into a UsageError."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise UsageError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """The message without line breaks; the name of the type if there is none."""
    return " ".join(str(error).split()) or type(error).__name__
