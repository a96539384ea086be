"""Durations as Kubernetes writes them: `500ms`, `15s`, `1m30s`; in the program, seconds.

`parse_duration(format_duration(x)) == x` for every x: nothing is lost on the way, since the
arithmetic is decimal.
"""

import re
from decimal import Decimal

MAX_LENGTH = 32
"""Characters of the longest text that is read."""

NOTATION = "500ms, 15s or 1m30s"
"""Examples, for messages."""

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
PATTERN = rf"^(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?$"
"""Without lookahead, as a CRD's schema wants it; it admits the empty text, which we do not."""

_TEXT = re.compile(PATTERN)
_UNITS = (Decimal(3600), Decimal(60), Decimal(1), Decimal("0.001"))


def parse_duration(text: str) -> float:
    """Read hours, minutes, seconds and milliseconds, in this order, into seconds.

    Raises ValueError for anything else, a bare number too: it would leave the unit to be guessed.
    """
    match = _TEXT.fullmatch(text) if 0 < len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError(f"no duration: {text!r}")
    amounts = zip(match.groups(), _UNITS, strict=True)
    return float(sum(Decimal(amount) * unit for amount, unit in amounts if amount))


def format_duration(seconds: float) -> str:
    """Write `seconds`, which are finite and not negative, as `parse_duration` reads them."""
    milliseconds = Decimal(repr(seconds)) * 1000
    if milliseconds != int(milliseconds):
        return f"{milliseconds / 1000:f}s"
    rest, parts = int(milliseconds), ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        amount, rest = divmod(rest, size)
        parts += f"{amount}{unit}" if amount else ""
    return parts or "0s"
