"""A Markdown cell as the reader gets it: blocks of text, formulas, links and the comments that hold evidence.

markdown-it-py reads it, with the plug-ins that MyST uses for the page, so that what is a formula here is one there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
FORMULA = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands in a block's text where a formula or code is


@dataclass(frozen=True)
class Text:
    text: str
    start: int  # where it begins in the block's plain text


@dataclass(frozen=True)
class Formula:
    latex: str
    display: bool
    start: int


@dataclass(frozen=True)
class Comment:
    text: str
    alone: bool = False  # on lines of its own


Piece = Text | Formula | Comment


@dataclass
class Block:
    """`kind` is heading, paragraph, item, table, formula or comment."""

    kind: str
    pieces: list[Piece] = field(default_factory=list)
    text: str = ""
    links: list[tuple[int, int, str]] = field(default_factory=list)  # from, to, address

    def add_text(self, text: str) -> None:
        self.pieces.append(Text(text, len(self.text)))
        self.text += text

    def add_formula(self, latex: str, display: bool) -> None:
        self.pieces.append(Formula(latex, display, len(self.text)))
        self.text += FORMULA

    def add_code(self, text: str) -> None:
        self.text += FORMULA


_reader = (
    MarkdownIt("commonmark")
    .enable(["table", "strikethrough"])
    .use(front_matter_plugin)
    .use(myst_role_plugin)
    .use(dollarmath_plugin, allow_labels=True, allow_space=True, allow_digits=True, double_inline=True)
    .use(amsmath_plugin)
    .use(deflist_plugin)
)


def blocks(markdown: str) -> Iterator[Block]:
    """The blocks of a cell in reading order."""
    tokens = _reader.parse(markdown)
    table: Block | None = None
    item_depth, heading = 0, False
    for token in tokens:
        if token.type == "table_open":
            table = Block("table")
        elif token.type == "table_close" and table is not None:
            yield table
            table = None
        elif token.type in {"list_item_open", "list_item_close", "dd_open", "dd_close"}:
            item_depth += token.nesting
        elif token.type in {"heading_open", "heading_close"}:
            heading = token.nesting == 1
        elif token.type in {"math_block", "math_block_label", "amsmath"}:
            block = Block("formula")
            block.add_formula(token.content.strip(), display=True)
            yield block
        elif token.type == "html_block":
            for match in COMMENT.finditer(token.content):
                yield Block("comment", [Comment(match.group(1).strip(), alone=True)])
        elif token.type == "inline":
            if table is not None:
                if table.text:
                    table.text += "\n"
                _fill(table, token.children or [])
                continue
            block = Block("heading" if heading else "item" if item_depth else "paragraph")
            _fill(block, token.children or [])
            yield block


def _fill(block: Block, children: list[Token]) -> None:
    opened: list[tuple[int, str]] = []
    for child in children:
        if child.type == "text":
            block.add_text(child.content)
        elif child.type in {"softbreak", "hardbreak"}:
            block.add_text(" ")
        elif child.type in {"math_inline", "math_single", "math_inline_double", "math_block"}:
            block.add_formula(child.content.strip(), display=child.type == "math_inline_double")
        elif child.type == "code_inline":
            block.add_code(child.content)
        elif child.type == "html_inline":
            match = COMMENT.match(child.content)
            if match:
                block.pieces.append(Comment(match.group(1).strip()))
        elif child.type == "link_open":
            opened.append((len(block.text), str(child.attrs.get("href", ""))))
        elif child.type == "link_close" and opened:
            start, address = opened.pop()
            block.links.append((start, len(block.text), address))
        elif child.type == "image":
            block.add_text(child.content)


_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”)*]*\s+(?=[A-Z\"“(\[*¿" + FORMULA + r"])")
_ABBREVIATION = re.compile(r"(?:\b(?:[A-Z]|et al|cf|e\.g|i\.e|vs|Eq|Eqs|Thm|Fig|Sec|Ch|No|Vol|pp|St|Dr|al))\.$")


def sentence_around(text: str, position: int) -> tuple[int, int]:
    """Where the sentence that holds `position` begins and ends."""
    start, end = 0, len(text)
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[: match.start()].rstrip()):
            continue
        if match.end() <= position:
            start = match.end()
        elif match.start() >= position:
            end = match.start()
            break
    return start, end
