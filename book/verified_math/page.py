"""The ledger as a page of the book, and the quiet mark beside each verified equation that links to its row.

Both are made from what `store.py` kept when the chapters were verified, right before the build.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.util import logging

from .chapter import ROOT
from .store import LEDGER

KINDS = ("exact", "numeric", "empirical", "cited", "reference")
FORMS = {"equation": "equation", "display": "displayed equation", "number": "number in the text",
         "alt": "number in a figure's description", "statement": "statement in code"}  # fmt: skip
log = logging.getLogger(__name__)


class LedgerPlace(nodes.General, nodes.Element):  # type: ignore[misc]
    """Where the ledger goes, until all chapters are read."""


class LedgerDirective(Directive):  # type: ignore[misc]
    def run(self) -> list[nodes.Node]:
        return [LedgerPlace()]


def ledgers() -> list[dict[str, Any]]:
    """What is kept of each page, in the order of the book."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(LEDGER.glob("*.json"))]


def anchor(identity: str) -> str:
    return identity.replace(".", "-")


def mark_equations(app: Sphinx, doctree: nodes.document) -> None:
    """Beside each verified displayed equation: a check mark that leads to its row, and a target to come back to."""
    path = LEDGER / f"{app.env.docname.rsplit('/', 1)[-1]}.json"
    if not path.exists():
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["page"] != app.env.docname:
        return
    displays = [record for record in data["records"] if record["form"] == "display"]
    for block in list(doctree.findall(nodes.math_block)):
        here = [record for record in displays if _same(record["text"], block.astext())]
        if not here:
            continue
        first = here[0]["id"]
        here = [record for record in here if record["id"].split(".")[0] == first.split(".")[0]]
        displays = [record for record in displays if record not in here]
        block["ids"].append(anchor(first))
        block["classes"].append("verified")
        if any(record["status"] == "true" for record in here):
            kinds = " and ".join(sorted({record["kind"] for record in here if record["status"] == "true"}))
            link = nodes.reference(
                "", "✓", refuri=f"../book/ledger.html#row-{anchor(first)}", internal=True, classes=["verdict"],
                reftitle=f"Verified, {kinds}: to its row in the ledger",
            )  # fmt: skip
            block.parent.insert(block.parent.index(block) + 1, nodes.paragraph("", "", link, classes=["verdict-line"]))


def _same(left: str, right: str) -> bool:
    return re.sub(r"\s+", "", left) == re.sub(r"\s+", "", right)


def note_sections(app: Sphinx, doctree: nodes.document) -> None:
    """Remember where each section of a page begins, for links from the ledger."""
    places: dict[str, dict[str, str]] = app.env.__dict__.setdefault("verified_sections", {})
    places[app.env.docname] = {
        re.sub(r"\W+", "", section.next_node(nodes.title).astext()): section["ids"][0]
        for section in doctree.findall(nodes.section)
        if section.next_node(nodes.title) is not None and section["ids"]
    }


def write_ledger(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(LedgerPlace)):
        data = ledgers()
        if not data:
            log.warning("no chapter has been verified: run `make verify` first", location=docname)
        order = [name for name in app.env.toctree_includes.get("book/index", [])]
        data.sort(key=lambda entry: order.index(entry["page"]) if entry["page"] in order else 99)
        place.replace_self([*_counts(app, data), *(_part(app, entry) for entry in data), *_exemptions(app, data)])


def _title(app: Sphinx, page: str) -> str:
    return app.env.titles[page].astext() if page in app.env.titles else page


def _counts(app: Sphinx, data: list[dict[str, Any]]) -> Iterator[nodes.Node]:
    header = ["", *KINDS, "exempt", "mentions"]
    rows, total = [], Counter[str]()
    for entry in data:
        counts = Counter(r["kind"] if r["status"] == "true" else r["status"] for r in entry["records"])
        counts["mentions"] = entry["mentions"]
        total += counts
        link = nodes.reference("", _title(app, entry["page"]), refuri=f"#part-{_slug(entry['page'])}", internal=True)
        rows.append([nodes.paragraph("", "", link), *(str(counts[kind]) for kind in header[1:])])
    rows.append(["all", *(str(total[kind]) for kind in header[1:])])
    yield _table(header, rows, classes=["ledger-counts"])


def _slug(page: str) -> str:
    return page.rsplit("/", 1)[-1].replace("_", "-")


def _part(app: Sphinx, entry: dict[str, Any]) -> nodes.Node:
    section = nodes.section(ids=[f"part-{_slug(entry['page'])}"])
    section += nodes.title("", _title(app, entry["page"]))
    rows = []
    decided = [record for record in entry["records"] if record["status"] != "exempt"]
    for _, group in groupby(decided, key=lambda record: (record["id"].split(".")[0], record["form"], record["text"])):
        rows.append(_row(app, entry["page"], list(group)))
    section += _table(["Place", "Statement", "Kind", "What decided it"], rows, classes=["ledger"])
    return section


def _row(app: Sphinx, page: str, group: list[dict[str, Any]]) -> list[Any]:
    first = group[0]
    kinds = ", ".join(sorted({record["kind"] for record in group}))
    verdict = "✓" if all(record["status"] == "true" for record in group) else "✗"
    details = list(dict.fromkeys(record["detail"] for record in group))
    text = "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
    where = _link(app, page, first, f"{verdict} {first['id']}")
    where["ids"].append(f"row-{anchor(first['id'])}")
    decided = nodes.paragraph("", text)
    for expression in dict.fromkeys(record["evidence"] for record in group if record["evidence"]):
        decided += [nodes.Text(" · "), nodes.literal("", expression)]
    return [where, _statement(first), kinds, decided]


def _link(app: Sphinx, page: str, record: dict[str, Any], words: str) -> nodes.paragraph:
    sections = app.env.__dict__.get("verified_sections", {}).get(page, {})
    place = (
        anchor(record["id"]) if record["form"] == "display" else sections.get(re.sub(r"\W+", "", record["section"]), "")
    )
    name = f"{FORMS[record['form']]} in {record['section']}"
    reference = nodes.reference("", words, refuri=f"../{page}.html#{place}", internal=True, reftitle=name)
    return nodes.paragraph("", "", reference)


def _statement(record: dict[str, Any]) -> nodes.paragraph:
    if record["form"] in {"equation", "display"}:
        return nodes.paragraph("", "", nodes.math("", record["text"]))
    return nodes.paragraph("", record["text"])


def _exemptions(app: Sphinx, data: list[dict[str, Any]]) -> Iterator[nodes.Node]:
    section = nodes.section(ids=["exemptions"])
    section += nodes.title("", "Exemptions")
    rows = []
    for entry in data:
        exempt = [record for record in entry["records"] if record["status"] == "exempt"]
        for (text, reason), group in groupby(exempt, key=lambda record: (record["text"], record["detail"])):
            record = next(group)
            rows.append([_link(app, entry["page"], record, _title(app, entry["page"])), _statement(record), reason])
            assert text == record["text"]
    section += _table(["Page", "What is not decided", "Why"], rows, classes=["ledger"])
    yield section


def _table(header: list[str], rows: list[list[Any]], classes: list[str]) -> nodes.table:
    table = nodes.table(classes=classes)
    group = nodes.tgroup(cols=len(header))
    table += group
    for _ in header:
        group += nodes.colspec(colwidth=1)
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    head += _table_row(header)
    for row in rows:
        body += _table_row(row)
    return table


def _table_row(cells: list[Any]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        row += nodes.entry("", cell if isinstance(cell, nodes.Node) else nodes.paragraph("", str(cell)))
    return row


def setup(app: Sphinx) -> None:
    app.add_node(LedgerPlace)
    app.add_directive("ledger", LedgerDirective)
    app.connect("doctree-read", mark_equations)
    app.connect("doctree-read", note_sections)
    app.connect("doctree-resolved", write_ledger)


__all__ = ["ROOT", "setup"]
