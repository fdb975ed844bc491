"""The road of chapters on the front page: the number of each, by its title, also of those that are still to come."""

import re
from pathlib import Path

_ENTRY = re.compile(r"^(\d+)\. (?:\[([^\]]+)\]\(|\*\*(.+?)\*\*)", re.MULTILINE)


def road(index: Path) -> dict[str, int]:
    """Titles and numbers as they stand on the front page."""
    text = index.read_text(encoding="utf-8")
    return {(linked or bold): int(number) for number, linked, bold in _ENTRY.findall(text)}
