"""Pages of which a part is generated: what stands between two marks is written anew."""

from pathlib import Path


def put(page: Path, name: str, generated: str) -> None:
    """Put a text between the marks of that name; raises ValueError if the page has none."""
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->\n"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no place for {name}")
    page.write_text(f"{before}{begin}\n{generated}\n{end}{after}")
