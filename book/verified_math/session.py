"""The verification of one chapter while it runs: cell by cell, in the chapter's own kernel.

`Session` reads each Markdown cell when its turn comes, makes a claim of everything that it asserts, and decides each
against the names that are bound at that moment. It needs no kernel of its own: tests hand it a dictionary.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lora_edu.statements import made_statements

from .citations import UnknownWork, Works
from .claims import Claim, Equation, Evidence, Known, Supported, product_items
from .decide import Verdict, asserts, has_number
from .grammar import parse
from .names import Scope
from .numerals import Numeral, numerals
from .reading import Block, Comment, Text, blocks, sentence_around
from .reading import Formula as TypesetFormula
from .syntax import Chain, Dots, Num, Statement, Sym
from .tokens import Unparsed

TITLE = re.compile(r"Chapter (\d+) · about .* · runs in .*")
TIMES = "how long it takes differs by reader and by machine"
EXERCISE = re.compile(r"Exercise (\d\d\.\d)")
CHAPTER_FILE = re.compile(r"(?:^|/)(\d\d)_\w+\.ipynb")


@dataclass(frozen=True)
class Record:
    """One line of the ledger.

    `form` is equation, display, number, alt or statement; `status` true, false, unbound, unparsed, unsupported or
    exempt.
    """

    id: str
    section: str
    form: str
    text: str
    kind: str
    status: str
    detail: str
    evidence: str = ""


@dataclass
class Item:
    """Something asserted in a Markdown cell, before it is known what supports it."""

    form: str
    text: str
    section: str
    statement: Statement | None = None
    numeral: Numeral | None = None
    block: Block | None = None
    claim: Claim | None = None
    problem: str = ""
    exempt: str = ""
    evidence: str = ""
    environment: "Environment | None" = None


@dataclass(frozen=True)
class Environment:
    """What comments have set for the equations after them."""

    let: tuple[tuple[str, str], ...] = ()
    draws: str = ""
    below: bool = False


@dataclass
class Session:
    """`names` is the kernel's namespace, `road` the chapters' numbers by words of their titles."""

    chapter: str
    names: Mapping[str, Any]
    works: Works
    road: Mapping[str, int] = field(default_factory=dict)
    watcher: Callable[[Item, Scope, Verdict, str], None] | None = None
    records: list[Record] = field(default_factory=list)
    mentions: int = 0

    def __post_init__(self) -> None:
        self.section, self.cell, self.count = "", "", 0
        self.waiting: list[tuple[Item, str]] = []

    # cells

    def markdown(self, cell: str, source: str, next_code: str = "") -> None:
        """Decide what a Markdown cell asserts; what waits for the next code cell is kept for `code`."""
        self.cell, self.count = cell, 0
        for item in self.collect(source, next_code):
            self.count += 1
            identity = f"{cell}.{self.count}"
            if item.environment and item.environment.below:
                self.waiting.append((item, identity))
                continue
            verdict = self.verdict(item)
            if verdict.status == "unbound" and next_code:
                self.waiting.append((item, identity))
            else:
                self.conclude(item, identity, verdict)

    def code(self, cell: str, metadata: Mapping[str, Any], source: str = "") -> None:
        """After a code cell has run: its statements, the numbers in its figure's description, and what was waiting."""
        for count, statement in enumerate(made_statements(), start=1):
            status = "true" if statement.as_expected else "false"
            note = statement.detail if statement.expected else f"wrong on purpose: {statement.detail}"
            self.records.append(
                Record(f"{cell}.s{count}", self.section, "statement", statement.name, statement.kind, status, note)
            )
        self.describe(cell, metadata)
        waiting, self.waiting = self.waiting, []
        for item, identity in waiting:
            self.conclude(item, identity, self.verdict(item))

    def finish(self) -> list[Record]:
        """Conclude what still waits, and hand over the records."""
        for item, identity in self.waiting:
            self.conclude(item, identity, self.verdict(item))
        self.waiting = []
        return self.records

    def save(self, path: str) -> None:
        data = {"mentions": self.mentions, "records": [asdict(record) for record in self.finish()]}
        Path(path).write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")

    # verdicts

    def scope(self) -> Scope:
        return Scope(self.names, {"chapter": self.chapter_number})

    def chapter_number(self, words: str) -> int:
        """The number of the chapter whose title has these words, from the road on the front page."""
        found = {number for title, number in self.road.items() if words.lower() in title.lower()}
        if len(found) != 1:
            raise LookupError(f"{len(found)} chapters have {words!r} in their title")
        return found.pop()

    def verdict(self, item: Item) -> Verdict:
        if item.exempt:
            return Verdict("exempt", detail=item.exempt)
        if item.problem:
            return Verdict("unparsed", detail=item.problem)
        if item.claim is None:
            return Verdict(
                "unsupported", detail="a number without evidence: compute it, cite it, or say why it is exempt"
            )
        try:
            return item.claim.decide(self.scope())
        except Exception as error:  # whatever goes wrong in one claim must be seen as that claim's failure
            return Verdict("unbound", detail=f"{type(error).__name__}: {error}")

    def conclude(self, item: Item, identity: str, verdict: Verdict) -> None:
        if verdict.status == "true" and self.watcher is not None:
            self.watcher(item, self.scope(), verdict, identity)
        kind = verdict.kind or ("exempt" if verdict.status == "exempt" else "")
        self.records.append(
            Record(identity, item.section, item.form, item.text, kind, verdict.status, verdict.detail, item.evidence)
        )

    # reading

    def collect(self, source: str, next_code: str) -> list[Item]:
        """Everything that a cell asserts, with its evidence."""
        items: list[Item] = []
        fresh: list[Item] = []  # since the last comment of this block
        before: list[Item] = []  # the same of the block before it
        environment = Environment()
        for block in blocks(source):
            if block.kind != "comment":
                before, fresh = fresh, []
            if block.kind == "heading":
                self.section = re.sub(r"\s+", " ", block.text).strip()
            for piece in block.pieces:
                if isinstance(piece, Comment):
                    subject = (fresh or before) if piece.alone else fresh
                    environment = self.apply(piece.text, subject, environment)
                    if piece.text.startswith(("=", "exempt:")):
                        (before if subject is before else fresh).clear()
                    continue
                new = (
                    self.numbers(piece, block, next_code)
                    if isinstance(piece, Text)
                    else self.formula(piece, environment)
                )
                for item in new:
                    item.environment = environment
                items += new
                fresh += new
            if block.kind == "comment":
                continue
        for item in items:
            if item.claim is None and not item.exempt and not item.problem and item.numeral is not None and item.block:
                self.cite(item, item.block, item.numeral)
        return items

    def apply(self, text: str, items: list[Item], environment: Environment) -> Environment:
        """Do what a comment says: give evidence to the items since the last one, or set names for what follows."""
        if text.startswith("="):
            _support(text[1:], items)
        elif text.startswith("exempt:"):
            for item in items:
                item.exempt = text.removeprefix("exempt:").strip()
        elif text.startswith("let "):
            pairs = [part.split("=", 1) for part in text.removeprefix("let ").split(";")]
            let = tuple((name.strip(), expression.strip()) for name, expression in pairs)
            return Environment(environment.let + let, environment.draws, environment.below)
        elif text.startswith("draws:"):
            return Environment((), text.removeprefix("draws:").strip(), environment.below)
        elif text == "cited":
            items.clear()
        elif text == "below":
            return Environment(environment.let, environment.draws, True)
        return environment

    def formula(self, piece: TypesetFormula, environment: Environment) -> list[Item]:
        form = "display" if piece.display else "equation"
        try:
            statements = parse(piece.latex)
        except Unparsed as error:
            return [Item(form, piece.latex, self.section, problem=f"not read: {error}")]
        items, in_range = [], False
        for statement in statements:
            if asserts(statement):
                items.append(
                    Item(
                        form,
                        piece.latex,
                        self.section,
                        statement,
                        claim=Equation(statement, environment.draws, environment.let),
                    )
                )
            elif isinstance(statement, Chain) or (in_range and isinstance(statement, Num | Sym | Dots)):
                in_range = True
                self.mentions += 1
            elif has_number(statement):
                for part in product_items(statement):  # type: ignore[arg-type]
                    if has_number(part):
                        items.append(Item(form, piece.latex, self.section, part))
            else:
                self.mentions += 1
        return items

    def numbers(self, piece: Text, block: Block, next_code: str) -> list[Item]:
        items = []
        for numeral in numerals(piece.text, piece.start, block.text):
            start, end = sentence_around(block.text, numeral.start)
            context = block.text[start:end].replace("\N{OBJECT REPLACEMENT CHARACTER}", "…").strip()
            item = Item("number", _shortened(context, numeral.text), self.section, numeral=numeral, block=block)
            self.support_by_rule(item, block, numeral, next_code)
            items.append(item)
        return items

    def support_by_rule(self, item: Item, block: Block, numeral: Numeral, next_code: str) -> None:
        """Numbers whose evidence is plain from where they stand: those of chapters and exercises."""
        title = TITLE.search(block.text)
        if title:
            if title.start(1) == numeral.start:
                item.claim = Known(
                    numeral, {str(int(self.chapter[:2])): "this chapter's file"}, "reference", "is another chapter"
                )
            else:
                item.exempt = TIMES
            return
        if block.kind == "heading" and EXERCISE.search(block.text):
            numbers = re.findall(r'check\("(\d\d\.\d)"', next_code)
            item.claim = Known(
                numeral, {number: "its checker" for number in numbers}, "reference", "is not the exercise that follows"
            )
            return
        for start, end, address in block.links:
            file = CHAPTER_FILE.search(address)
            if file and start <= numeral.start < end:
                item.claim = Known(
                    numeral, {str(int(file[1])): "the page it links to"}, "reference", f"links to {address}"
                )
                return

    def cite(self, item: Item, block: Block, numeral: Numeral) -> None:
        start, end = sentence_around(block.text, numeral.start)
        if self.section == "Further reading":
            start, end = 0, len(block.text)
        links = [address for from_, _, address in block.links if start <= from_ < end]
        try:
            keys = self.works.cited_in(block.text[start:end], links)
        except UnknownWork as error:
            item.problem = str(error)
            return
        if keys:
            quote = self.works.allows(keys, numeral.digits)
            allowed = {numeral.digits: f"{quote.key}, {quote.where}: {quote.what}"} if quote else {}
            item.claim = Known(numeral, allowed, "cited", f"does not stand in what is noted of {', '.join(keys)}")

    def describe(self, cell: str, metadata: Mapping[str, Any]) -> None:
        """Decide the numbers in a figure's description."""
        for count, item in enumerate(self.described(metadata), start=1):
            self.conclude(item, f"{cell}.a{count}", self.verdict(item))

    def described(self, metadata: Mapping[str, Any]) -> list[Item]:
        """The numbers in a figure's description, with the expressions in the cell's metadata as their evidence."""
        alt = metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        items = [
            Item("alt", _shortened(alt, numeral.text, numeral.start), self.section, numeral=numeral)
            for numeral in numerals(alt)
        ]
        entries = metadata.get("verify", [])
        exempt = [entry.removeprefix("exempt:").strip() for entry in entries if entry.startswith("exempt:")]
        if exempt:
            for item in items:
                item.exempt = exempt[0]
        elif entries:
            _support(";".join(entries), items)
        return items


def _support(text: str, items: list[Item]) -> None:
    """Give the numbers among the items their evidence: as many values as there are numbers, in order."""
    numbers = [item for item in items if item.claim is None]
    targets = tuple(item.numeral or item.statement for item in numbers)
    evidence = Evidence(tuple(part.strip() for part in text.split(";") if part.strip()), targets)  # type: ignore[arg-type]
    for position, item in enumerate(numbers):
        item.claim, item.evidence = Supported(evidence, position), "; ".join(evidence.expressions)
    if not numbers:
        for item in items[:1]:
            item.problem = f"evidence {text.strip()!r} for no number"


def _shortened(text: str, part: str, start: int | None = None, room: int = 110) -> str:
    text = re.sub(r"\s+", " ", text)
    if len(text) <= room:
        return text
    where = text.find(part.strip()) if start is None else start
    left = max(0, where - room // 2)
    left = text.rfind(" ", 0, left + 1) + 1 if left else 0
    right = text.find(" ", min(len(text), left + room))
    right = right if right >= 0 else len(text)
    return f"{'… ' if left else ''}{text[left:right].strip()}{' …' if right < len(text) else ''}"
