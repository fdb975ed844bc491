"""A reader's own labelled texts, read from a file: what the file cannot mean is refused in one sentence, with the line.

A `.csv` or `.tsv` file has a header and a column for the text and one for its label. Any other file has a line
`label<TAB>text` for each example. What the examples themselves may have wrong is the subject of `own_checks`, next.
"""

import codecs
import csv
import difflib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TABLES = (".csv", ".tsv")
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


class DataError(ValueError):
    """A file, or the examples in it, that nothing should be trained on: the message says what is wrong and where."""


@dataclass(frozen=True)
class Examples:
    """Texts, the label of each, and the line of the file on which each begins."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> "Examples":
        """The examples of these rows, in their order."""
        rows = list(rows)
        return Examples(
            tuple(self.texts[row] for row in rows),
            tuple(self.labels[row] for row in rows),
            tuple(self.lines[row] for row in rows),
        )


def read_examples(
    path: str | os.PathLike[str], *, text: str = "text", label: str = "label", encoding: str = "utf-8"
) -> Examples:
    """The labelled texts of a file. Space at both ends of a text is dropped; labels are left as they are.

    Args:
        text, label: the names of the two columns of a table. Other columns are not looked at.
        encoding: of the file, for one that is not in UTF-8. A mark of the byte order at its start is no part of it.

    Raises DataError, with the first line at fault and the number of others, if the file is empty, not text in that
    encoding, or no table with these columns; if a row has other columns than the header, no text, or no label. Raises
    OSError if it cannot be read.
    """
    path = Path(path)
    content = decode(path.read_bytes(), path.name, encoding)
    if path.suffix.lower() in TABLES:
        rows = [(line, row[0], row[1]) for line, row in _table(content, path.name, [text, label])]
    else:
        rows = list(_lines(content, path.name))
    if not rows:
        raise DataError(f"{path.name} has no examples, only a header")
    for what, column in (("text", 1), ("label", 2)):
        _refuse(path.name, f"no {what}", [row[0] for row in rows if not str(row[column]).strip()])
    lines, texts, labels = zip(*rows, strict=True)
    return Examples(tuple(item.strip() for item in texts), labels, lines)


def read_texts(content: bytes, name: str, *, text: str | None = None, encoding: str = "utf-8") -> list[str]:
    """Texts without labels: the column `text` of a table, or with None each line that is not blank.

    `name` is what an error calls the source. Raises DataError as `read_examples` does; no text at all is no error.
    """
    if not content.strip():
        return []
    decoded = decode(content, name, encoding)
    if text is None:
        return [line.strip() for line in decoded.splitlines() if line.strip()]
    rows = list(_table(decoded, name, [text]))
    _refuse(name, "no text", [line for line, row in rows if not row[0].strip()])
    return [row[0].strip() for _, row in rows]


def decode(content: bytes, name: str, encoding: str) -> str:
    """The text that the bytes mean. Raises DataError for none, for bytes that mean none, and for zero bytes."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise DataError(f"encoding {encoding!r} is unknown; common ones are utf-8, cp1252 and gb18030") from None
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{name} is in UTF-16, not UTF-8: save it as UTF-8, or give --encoding utf-16")
        encoding = "utf-8-sig"
    try:
        decoded = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name} is not in {encoding.removesuffix('-sig').upper()}: byte 0x{content[error.start]:02x} in line "
            f"{line} means nothing there; save it as UTF-8, or give its --encoding, often cp1252 or gb18030"
        ) from None
    if not decoded.strip():
        raise DataError(f"{name} is empty")
    if "\0" in decoded:
        line = decoded.count("\n", 0, decoded.index("\0")) + 1
        raise DataError(f"{name} has a zero byte in line {line}, so it is no text file, or a damaged one")
    return decoded


def _table(content: str, name: str, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The line and the asked-for columns of each row, whichever delimiter the header is written with."""
    headers = {d: next(csv.reader(io.StringIO(content, newline=""), delimiter=d), []) for d in DELIMITERS}
    headers = {d: [cell.strip() for cell in header] for d, header in headers.items()}
    fitting = [d for d, header in headers.items() if set(columns) <= set(header)]
    if not fitting:
        raise DataError(_missing(name, max(headers.values(), key=len), columns))
    header = headers[fitting[0]]
    if doubled := [column for column in columns if header.count(column) > 1]:
        raise DataError(f"{name} has {header.count(doubled[0])} columns named {doubled[0]!r}")
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=fitting[0], strict=True)
    places, begins = [header.index(column) for column in columns], 1
    found, uneven = list[tuple[int, list[str]]](), list[tuple[int, list[str]]]()
    try:
        for row in reader:
            if row and begins > 1:
                (found if len(row) == len(header) else uneven).append((begins, row))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}, line {begins}: {error}; is a quotation mark left open or not doubled?") from None
    if uneven:
        line, row = uneven[0]
        delimiter = DELIMITERS[fitting[0]]
        raise DataError(
            f"{name}, line {line}: {len(row)} columns where the header has {len(header)}{_others(uneven)}; "
            f'a text with {delimiter} in it must stand in "quotation marks"'
        )
    yield from ((line, [row[place] for place in places]) for line, row in found)


def _missing(name: str, header: list[str], columns: list[str]) -> str:
    missing = next(column for column in columns if column not in header)
    listed = ", ".join(repr(column[:40]) for column in header[:8])
    close = difflib.get_close_matches(missing, header, n=1)
    hint = f"; did you mean {close[0]!r}" if close else "; columns are separated by a comma, a semicolon or a tab"
    return f"{name} has no column {missing!r}, only {listed}{hint}"


def _lines(content: str, name: str) -> Iterator[tuple[int, str, str]]:
    rows = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    if bad := [number for number, line in rows if "\t" not in line]:
        _refuse(
            name, "no tab between label and text; a table with a header must be named .csv or .tsv, but it has", bad
        )
    for number, line in rows:
        label, _, text = line.rstrip("\r").partition("\t")
        yield number, text, label


def _refuse(name: str, what: str, lines: list[int]) -> None:
    if lines:
        raise DataError(f"{name}, line {lines[0]}: there is {what}{_others(lines)}")


def _others(faults: list[int] | list[tuple[int, list[str]]]) -> str:
    return f" (and {len(faults) - 1} more such lines)" if len(faults) > 2 else " (and one more)" * (len(faults) == 2)
