"""Tables of results: the same for the terminal and for the docs, so that neither says more.

Each benchmark makes its tables from what stands in its JSON alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names things and whose others hold figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return it for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = [
            "  ".join(
                cell.ljust(width) if number == 0 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}" for line in told)])

    def markdown(self) -> str:
        """Return it for the docs, the title before it."""
        marks = ["---", *("---:" for _ in self.header[1:])]
        lines = [self.header, marks, *self.rows]
        return "\n".join([f"{self.title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


def figure(value: float) -> str:
    """Write a figure with three significant digits, and its thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def times(ratio: float) -> str:
    """Write a ratio."""
    return f"{figure(ratio)}×"


def ranged(median: float, low: float, high: float) -> str:
    """Write a median with the range of its rounds."""
    return f"{figure(median)} ({figure(low)}–{figure(high)})"
