"""How many tasks are asked for."""

from isoloss._checks import is_whole


def check_count(where: str, n: int) -> None:
    """Refuse to draw no tasks.

    Raises:
        ValueError: If n is no whole number of at least 1.
    """
    if not is_whole(n, least=1):
        raise ValueError(
            f"{where}.draw: at least 1 task must be drawn; got n = {n!r}. Pass a positive integer."
        )
