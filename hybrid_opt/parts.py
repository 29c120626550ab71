"""Hints for names that are not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """The rest of an error line: the nearest name that is known, or some of them."""
    names = sorted(known)
    close = get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]}?"
    more = ", ..." if len(names) > 12 else ""
    return f"; {', '.join(names[:12])}{more} are accepted" if names else ""
