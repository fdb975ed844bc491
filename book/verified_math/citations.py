"""The double entry for cited numbers: which works a sentence cites, and where in them a number stands.

The first entry is the sentence, the second stands in `references.bib` or, for figures and places, in `quoted.yml`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import yaml
from pybtex.database import parse_file
from pybtex.exceptions import PybtexError

NUMERAL = re.compile(r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)*")
BEFORE_ID = r"arxiv:\s*|arxiv\s(?=\d{4}\.\d)|arxiv\.org/(?:abs|pdf|html)/|10\.48550/arxiv\."
ARXIV = re.compile(rf"(?:{BEFORE_ID})(\d[\d.]*\d|[a-z-]+/\d+)", re.I)
DOI = re.compile(r"\b10\.\d{4,9}/(?!arxiv\.)[^\s<>\"'()\[\],;]*[^\s<>\"'()\[\],;.:]", re.I)
REQUIRED = {"where", "what", "values", "read"}


class UnknownWork(ValueError):
    """A citation that names no entry of the bibliography, or more than one."""


class Quote(NamedTuple):
    """Where a number stands: the field of an entry, or the place in the work and what is said there."""

    key: str
    where: str
    what: str


class Work(NamedTuple):
    """One entry: how a sentence can name it, and the numbers that it allows."""

    surname: str
    year: str
    title: str
    identifiers: frozenset[str]
    quotes: dict[str, Quote]


class Works(dict[str, Work]):
    """The works of the bibliography, by key."""

    def cited_in(self, sentence_text: str, links: Sequence[str]) -> list[str]:
        """Keys of the works that a sentence cites: by arXiv id, DOI or link, or by first author with year or title.

        The year is within 60 characters. Raises UnknownWork for an id in no entry, or a name and year that fit several.
        """
        found: list[str] = []
        for identifier in _identifiers(sentence_text, links):
            keys = [key for key, work in self.items() if identifier in work.identifiers]
            if not keys and identifier.startswith(("arxiv:", "doi:")):
                raise UnknownWork(f"{identifier} is in no entry of the bibliography")
            found += keys
        named: dict[str, list[str]] = {}
        for key, work in self.items():
            if all(_words(name) in _words(sentence_text) for name in (work.surname, work.title)):
                found.append(key)
            elif _near(work.surname, work.year, sentence_text):
                named.setdefault(f"{work.surname} {work.year}", []).append(key)
        for name, keys in named.items():
            if not set(keys) & set(found):
                if len(keys) > 1:
                    raise UnknownWork(f"{name} may be {' or '.join(keys)}: add an arXiv id or a link")
                found += keys
        return list(dict.fromkeys(found))

    def allows(self, keys: Sequence[str], numeral: str) -> Quote | None:
        """Where a number stands in one of the works, or None. It is compared as printed, thousands separators aside."""
        quotes = (self[key].quotes.get(as_printed(numeral)) for key in keys)
        return next((quote for quote in quotes if quote), None)


def as_printed(numeral: str) -> str:
    """A number without thousands separators, per cent sign and plus; an arXiv id without its version."""
    text = numeral.strip().lower().replace("{,}", ",").replace("−", "-").lstrip("+").rstrip("\\% \u202f\u00a0")
    text = re.sub(r"(?<=\d)(?:,|\\,|[ \u2009\u202f\u00a0])(?=\d{3}(?!\d))", "", text)
    return re.sub(r"^(\d{4}\.\d{4,5})v\d+$", r"\1", text)


def load_works(bib: Path, quoted: Path) -> Works:
    """Read both files. Raises ValueError, with the key, for whatever is wrong in them."""
    try:
        entries = parse_file(str(bib), bib_format="bibtex").entries
        records = _plain(yaml.compose(quoted.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    except (PybtexError, yaml.YAMLError) as error:
        raise ValueError(f"{bib.name} or {quoted.name} cannot be read: {error}") from error
    if not isinstance(records, dict) or set(records) - set(entries):
        raise ValueError(f"{quoted.name} must map keys of {bib.name} to records: {set(records or '') - set(entries)}")
    works = Works({key: _work(key, entry, records.get(key, [])) for key, entry in entries.items()})
    counts = Counter(identifier for work in works.values() for identifier in work.identifiers)
    if shared := [identifier for identifier, count in counts.items() if count > 1]:
        raise ValueError(f"{bib.name} has more than one entry for {', '.join(shared)}")
    return works


def _work(key: str, entry: Any, records: Any) -> Work:
    fields = {name.lower(): re.sub(r"[{}\\]", "", value) for name, value in entry.fields.items()}
    authors, quotes = entry.persons.get("author", []), dict[str, Quote]()
    if not authors or not fields.get("title") or not fields.keys() & {"year", "url", "doi"}:
        raise ValueError(f"{key}: an entry needs an author, a title, and a year, url or doi")
    for name, value in fields.items():
        numerals = [value] if name == "doi" else [] if name == "url" else NUMERAL.findall(value)
        quotes |= {as_printed(numeral): Quote(key, name, value) for numeral in numerals}
    for record in records if isinstance(records, list) else [records]:
        if not isinstance(record, dict) or not REQUIRED <= record.keys() <= REQUIRED | {"via"}:
            raise ValueError(f"{key}: a record has where, what, values, read and perhaps via, and not {record}")
        quote, values = Quote(key, str(record["where"]), str(record["what"])), record["values"]
        if not isinstance(values, list) or not all(re.fullmatch(r"-?\d[\d.,]*", str(value)) for value in values):
            raise ValueError(f"{key}, {quote.where}: values must be a list of numbers, not {values}")
        if record["read"] not in ("yes", "no") or record.get("via", "secondary") != "secondary":
            raise ValueError(f"{key}, {quote.where}: read is yes or no, via can only be secondary")
        for numeral in [*values, *NUMERAL.findall(quote.where)]:
            quotes.setdefault(as_printed(numeral), quote)
    archived = f"arXiv:{fields['eprint']}" if "eprint" in fields else fields.get("journal", "")
    identifiers = _identifiers(f"{archived} {fields.get('doi', '')}", [fields["url"]] if "url" in fields else [])
    surname = re.sub(r"[{}]", "", " ".join(authors[0].prelast_names + authors[0].last_names))
    return Work(surname, fields.get("year", ""), fields["title"], frozenset(identifiers), quotes)


def _plain(node: Any) -> Any:
    """YAML with every scalar as it is printed; PyYAML's loaders would let the second of two equal keys win."""
    if isinstance(node, yaml.MappingNode):
        names = [str(name.value) for name, _ in node.value]
        if len(set(names)) < len(names):
            raise ValueError(f"{max(names, key=names.count)} stands twice in one mapping")
        return {name: _plain(value) for name, (_, value) in zip(names, node.value, strict=True)}
    return [_plain(item) for item in node.value] if isinstance(node, yaml.SequenceNode) else node and node.value


def _identifiers(text: str, links: Sequence[str]) -> Iterator[str]:
    for place in [text, *map(unquote, links)]:
        yield from (f"arxiv:{match.lower()}" for match in ARXIV.findall(place))
        yield from (f"doi:{match.lower()}" for match in DOI.findall(place))
    yield from ("url:" + re.sub(r"^https?://(www\.)?", "", x.lower()).split("#")[0].rstrip("/") for x in links)


def _near(surname: str, year: str, text: str) -> bool:
    gap = r"(?!\w)(?:(?!\d{4}).){0,60}?(?<![\d.])"  # no other year between
    return bool(year and re.search(rf"(?<!\w){re.escape(surname)}{gap}{year}(?!\d|[.,]\d)", text, re.DOTALL))


def _words(text: str) -> str:
    return " ".join(["", *re.findall(r"\w+", text.lower()), ""])
