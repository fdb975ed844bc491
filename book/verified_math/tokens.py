"""LaTeX to a flat list of tokens. pylatexenc reads the macros, groups and environments; this only names what they are.

A group in braces, the arguments of a macro and the cells of an environment stay nested, so that `grammar.py` never
sees a brace.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from pylatexenc.latexwalker import (
    LatexCharsNode,
    LatexCommentNode,
    LatexEnvironmentNode,
    LatexGroupNode,
    LatexMacroNode,
    LatexMathNode,
    LatexSpecialsNode,
    LatexWalker,
    LatexWalkerParseError,
    get_default_latex_context_db,
)
from pylatexenc.macrospec import MacroSpec

from .vocabulary import (
    BREAKS,
    CLOSING,
    FUNCTIONS,
    GREEK,
    GRIDS,
    IGNORED,
    LINES,
    OPENING,
    OPERATORS,
    RELATIONS,
    SAME,
    SINGLE,
    UPRIGHT,
)  # fmt: skip


class Unparsed(ValueError):
    """The formula is written in a way that the verifier does not read; the message says where."""


@dataclass
class Token:
    """`kind` is number, letter, word, relation, operator, open, close, bar, script, macro, group, grid or break."""

    kind: str
    text: str
    groups: list[list["Token"]] = field(default_factory=list)
    cells: list[list[list["Token"]]] = field(default_factory=list)


_NUMBER = re.compile(r"\d{1,3}(?:(?:\{,\}|,)\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")

_context = get_default_latex_context_db()
_context.add_context_category(
    "book",
    macros=[MacroSpec(name, "{") for name in ("operatorname", "bm", "boxed", "mathsf", "mathtt", "boldsymbol", "tfrac")]
    + [MacroSpec(name, "{{") for name in ("dfrac", "tfrac", "binom", "tbinom", "dbinom")]
    + [MacroSpec("cfrac", "[{{")],
    prepend=True,
)


def tokenize(latex: str) -> list[Token]:
    """The tokens of a formula. Raises Unparsed where LaTeX itself could not read it."""
    source = re.sub(r"(?<=\d)(?:\{,\}|\\,|\\;|\\thinspace )(?=\d{3}(?!\d))", "{,}", latex)
    source = re.sub(r"(?<=\d)\{,\}(?=\d{3}(?!\d))", ",", source)
    source = re.sub(r"\\operatorname\*", r"\\operatorname", source)
    source = re.sub(r"\\(?:label|tag)\{[^}]*\}", "", source)
    try:
        nodes = LatexWalker(source, latex_context=_context, tolerant_parsing=False).get_latex_nodes()[0]
    except LatexWalkerParseError as error:
        raise Unparsed(f"LaTeX cannot be read: {str(error).splitlines()[0]}") from error
    return _tokens(nodes)


def words_of(tokens: list[Token]) -> str:
    """The plain text of tokens, for names in upright letters."""
    return "".join(token.text if not token.groups else "".join(map(words_of, token.groups)) for token in tokens)


def _tokens(nodes: list[Any]) -> list[Token]:
    tokens: list[Token] = []
    for node in nodes or []:
        if isinstance(node, LatexCharsNode):
            tokens += _characters(node.chars)
        elif isinstance(node, LatexGroupNode):
            tokens.append(Token("group", "{", [_tokens(node.nodelist)]))
        elif isinstance(node, LatexMacroNode):
            tokens += _macro(node)
        elif isinstance(node, LatexEnvironmentNode):
            tokens.append(_environment(node))
        elif isinstance(node, LatexSpecialsNode):
            tokens += _special(node.specials_chars)
        elif isinstance(node, LatexMathNode):
            tokens += _tokens(node.nodelist)
        elif not isinstance(node, LatexCommentNode):
            raise Unparsed(f"{node.latex_verbatim()!r} is not read")
    return tokens


def _special(characters: str) -> list[Token]:
    if characters == "&":
        return [Token("align", "&")]
    if characters == "~":
        return []
    return _characters(characters.replace("''", "′′").replace("'", "′"))


def _characters(text: str) -> list[Token]:
    tokens, position = [], 0
    while position < len(text):
        number = _NUMBER.match(text, position)
        character = text[position]
        if number:
            tokens.append(Token("number", number.group()))
            position = number.end()
            continue
        position += 1
        if character.isspace():
            continue
        if character.isalpha():
            kind = "letter"
        elif character in RELATIONS or character in "≤≥≠≈∈∉⊥":
            kind, character = "relation", RELATIONS.get(character, character)
        elif character in OPERATORS or character in "·×±∓⊗⊙":
            kind, character = "operator", OPERATORS.get(character, character)
        elif character in "^_":
            kind = "script"
        elif character in "([":
            kind = "open"
        elif character in ")]":
            kind = "close"
        elif character in "|‖":
            kind = "bar"
        elif character in "'′’":
            kind, character = "prime", "′"
        elif character in ",;.:":
            kind = "break"
        elif character in "!%°":
            kind = "post"
        elif character == "…":
            kind = "dots"
        else:
            raise Unparsed(f"the character {character!r} is not read")
        tokens.append(Token(kind, character))
    return tokens


def _macro(node: Any) -> list[Token]:
    name = node.macroname.rstrip("*")
    arguments = [_tokens([given]) for given in (node.nodeargd.argnlist if node.nodeargd else []) if given is not None]
    arguments = [group[0].groups[0] if len(group) == 1 and group[0].kind == "group" else group for group in arguments]
    if name in ("lVert", "rVert", "lvert", "rvert"):
        return [Token("open" if name[0] == "l" else "close", OPENING.get(name) or CLOSING[name])]
    if name in IGNORED:
        return []
    table: tuple[tuple[Any, str], ...] = (
        (RELATIONS, "relation"), (OPERATORS, "operator"), (OPENING, "open"), (CLOSING, "close"),
    )  # fmt: skip
    for known, kind in table:
        if name in known:
            return [Token(kind, known[name])]
    if name in GREEK:
        return [Token("letter", name)]
    if name in UPRIGHT:
        return [Token("word", words_of(arguments[0]).strip())]
    if name in FUNCTIONS:
        return [Token("word", name)]
    if name in SAME:
        return arguments[0] if arguments else []
    if name in BREAKS:
        return [Token("break", name)]
    if name in SINGLE:
        kind, text = SINGLE[name]
        return [Token(kind, text)]
    if name == "mathbb":
        return [Token("field", words_of(arguments[0]))]
    if name in ("underbrace", "overbrace"):
        return [Token("group", "{", arguments[:1])]
    return [Token("macro", name, arguments)]


def _environment(node: Any) -> Token:
    name = node.environmentname
    if name not in GRIDS | LINES:
        raise Unparsed(f"the environment {name!r} is not read")
    inner = node.nodelist
    if name == "array" and inner and isinstance(inner[0], LatexGroupNode):
        inner = inner[1:]
    rows: list[list[list[Token]]] = [[[]]]
    for token in _tokens(inner):
        if token.kind == "break" and token.text == "\\":
            rows.append([[]])
        elif token.kind == "align":
            rows[-1].append([])
        else:
            rows[-1][-1].append(token)
    if rows[-1] == [[]]:
        rows.pop()
    return Token("grid" if name in GRIDS else "lines", name, cells=rows)
