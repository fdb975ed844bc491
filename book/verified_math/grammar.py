r"""Tokens to formulas: a parser by precedence, written for the way this book and its field write matrices.

SymPy's own LaTeX parsers were tried first. They read a formula as commuting symbols, so that $GA^\top$ and $A^\top G$
become one thing, and know neither ranks nor shapes. What is read here is kept in its order, and what is not read raises
`Unparsed`.
"""

from fractions import Fraction

from .syntax import (
    Add,
    Big,
    Binomial,
    Chain,
    Div,
    Dots,
    Expr,
    Fence,
    Grid,
    Inner,
    Logic,
    Mul,
    Neg,
    Num,
    Paren,
    PlusMinus,
    Post,
    Pow,
    Root,
    Space,
    Statement,
    Sym,
    Word,
)  # fmt: skip
from .tokens import Token, Unparsed, tokenize, words_of
from .vocabulary import ACCENTS, COMPUTED, CONNECTIVES, OTHER_NAMES, SEPARATING

FRACTIONS, BINOMIALS = {"frac", "dfrac", "tfrac", "cfrac"}, {"binom", "dbinom", "tbinom"}
END = Token("end", "")


def parse(latex: str) -> list[Statement]:
    """All statements of one formula, split at commas, wide spaces and line ends. Raises Unparsed."""
    return [
        statement
        for pieces in _lines(tokenize(latex))
        for piece in _split(pieces)
        for statement in [_Parser(piece).statement()]
    ]


def parse_expression(latex: str) -> Expr:
    """One formula without a relation in it."""
    statements = parse(latex)
    if len(statements) != 1 or isinstance(statements[0], Chain | Logic):
        raise Unparsed(f"{latex!r} is not one expression")
    return statements[0]


def _lines(tokens: list[Token]) -> list[list[Token]]:
    """Aligned lines as token lists; a line that begins with a relation goes on with the one before."""
    result: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind != "lines":
            result[-1].append(token)
            continue
        for row in token.cells:
            line = [token for cell in row for token in cell]
            while line and line[0].kind == "break":
                line.pop(0)
            if not line:
                continue
            follows = line[0].kind in {"relation", "operator"} and line[0].text not in {"-", "±"}
            if follows and result[-1]:
                result[-1] += line
            else:
                result.append(line)
    return [line for line in result if line]


def _split(tokens: list[Token]) -> list[list[Token]]:
    """Cut at separators outside brackets; the commas inside a tuple stay."""
    pieces, depth, bars = [[]], 0, 0  # type: ignore[var-annotated]
    for token in tokens:
        if token.kind == "open":
            depth += 1
        elif token.kind == "close":
            depth -= 1
        elif token.kind == "bar":
            bars += 1
        word = token.kind == "word" and token.text.strip(" ,.") in SEPARATING
        if (token.kind == "break" and depth == 0) or (word and depth == 0):
            pieces.append([])
        elif token.kind == "break" and token.text not in ",;":
            continue
        else:
            pieces[-1].append(token)
    if depth:
        raise Unparsed("a bracket is not closed")
    return [piece for piece in pieces if piece]


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.position = tokens, 0

    def peek(self, ahead: int = 0) -> Token:
        where = self.position + ahead
        return self.tokens[where] if where < len(self.tokens) else END

    def take(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def at(self, kind: str, *texts: str) -> bool:
        token = self.peek()
        return token.kind == kind and (not texts or token.text in texts)

    def inside(self, tokens: list[Token]) -> Expr:
        """An argument in braces: one expression, or several between commas."""
        parser = _Parser(tokens)
        items = [parser.sum()]
        while parser.at("break", ",", ";"):
            parser.take()
            items.append(parser.sum())
        parser.expect_end()
        return items[0] if len(items) == 1 else Paren(tuple(items), "", "")

    def expect_end(self) -> None:
        if self.peek() is not END:
            raise Unparsed(f"{self.peek().text!r} is not expected after what stands before it")

    # relations

    def statement(self) -> Statement:
        left: Statement = self.chain()
        while self.at("relation", *CONNECTIVES):
            connective = self.take().text
            left = Logic(left, self.chain(), connective)
        self.expect_end()
        return left

    def chain(self) -> Statement:
        items, relations = [self.sum()], []
        while self.at("relation") and self.peek().text not in CONNECTIVES:
            relation = self.take().text
            if relation == "not":
                relation = {"=": "≠", "∈": "∉", "≈": "≉"}.get(self.take().text, "not")
            relations.append(relation)
            items.append(self.sum())
        return Chain(tuple(items), tuple(relations)) if relations else items[0]

    # sums and products

    def sum(self) -> Expr:
        terms = [self.signed()]
        while self.at("operator", "+", "-", "±", "∓"):
            if self.peek().text == "+":
                self.take()
            terms.append(self.signed())
        return terms[0] if len(terms) == 1 else Add(tuple(terms))

    def signed(self) -> Expr:
        if self.at("operator", "+"):
            self.take()
        if self.at("operator", "-"):
            self.take()
            return Neg(self.signed())
        if self.at("operator", "±", "∓"):
            return PlusMinus(
                argument=(sign := self.take(), self.product())[1], upper_sign=1 if sign.text == "±" else -1
            )
        return self.product()

    def product(self) -> Expr:
        result, after_slash = self.side_by_side(), False
        factors, signs = [result], [""]
        while self.at("operator", "·", "×", "/", "⊗", "⊙"):
            sign = self.take().text
            if sign == "/":
                above = factors[0] if len(factors) == 1 else Mul(tuple(factors), tuple(signs))
                below = self.factor()
                if self.starts_factor():
                    raise Unparsed("what a slash divides by is not clear here: put it in brackets")
                factors, signs = [Div(above, below)], [""]
                continue
            if self.at("operator", "-"):
                self.take()
                factors.append(Neg(self.side_by_side()))
            else:
                right = self.side_by_side()
                inner = right.factors if isinstance(right, Mul) and sign == "·" else (right,)
                factors += inner
                signs += [sign, *([""] * (len(inner) - 1))]
                continue
            signs.append(sign)
        assert not after_slash
        return factors[0] if len(factors) == 1 else Mul(tuple(factors), tuple(signs))

    def side_by_side(self) -> Expr:
        factors = [self.factor()]
        while self.starts_factor():
            factors.append(self.factor())
        return factors[0] if len(factors) == 1 else Mul(tuple(factors), ("",) * len(factors))

    def starts_factor(self) -> bool:
        token = self.peek()
        if token.kind == "bar":
            return not self.closing_bar
        if token.kind == "macro":
            return token.text not in {"limits"}
        return token.kind in {"number", "letter", "word", "group", "open", "grid", "field", "partial", "dots"}

    closing_bar = False

    # factors

    def factor(self) -> Expr:
        atom = self.atom()
        while True:
            if self.at("script", "^"):
                self.take()
                atom = self.raised(atom)
            elif self.at("script", "_"):
                self.take()
                index = self.argument()
                if isinstance(atom, Sym):
                    atom = Sym(atom.base, atom.index + self.indices(index), atom.suffix, atom.prefix)
                elif isinstance(atom, Fence):
                    atom = Fence(atom.kind, atom.argument, words_of(index))
                elif isinstance(atom, Grid | Paren):
                    continue  # the shape written under a matrix
                else:
                    raise Unparsed("an index stands under something that has none")
            elif self.at("prime"):
                self.take()
                if not isinstance(atom, Sym):
                    raise Unparsed("a prime stands behind something that is no name")
                atom = Sym(atom.base, atom.index, f"{atom.suffix}_prime", atom.prefix)
            elif self.at("post"):
                atom = Post(atom, self.take().text)
            else:
                return atom

    def argument(self) -> list[Token]:
        token = self.take()
        if token is END:
            raise Unparsed("something is missing at the end")
        return token.groups[0] if token.kind == "group" else [token]

    def raised(self, base: Expr) -> Expr:
        tokens = self.argument()
        text = words_of(tokens)
        if text == "T" or (text == "" and not tokens):
            return Post(base, "T")
        if text in {"-T"}:
            return Post(Pow(base, Neg(Num(Fraction(1), Fraction(1)))), "T")
        if text in {"dagger", "+"}:
            return Post(base, "+")
        if (tokens and tokens[0].kind == "macro" and tokens[0].text == "circ") or text in {"∘", "°"}:
            return Post(base, "°")
        if text in {"·", "*", "ast"} and isinstance(base, Sym):
            return Sym(base.base, base.index, f"{base.suffix}_star", base.prefix)
        if all(token.kind == "prime" for token in tokens) and isinstance(base, Sym):
            return Sym(base.base, base.index, base.suffix + "_prime" * len(tokens), base.prefix)
        if len(tokens) == 1 and tokens[0].kind == "word" and isinstance(base, Sym):
            return Sym(base.base, base.index, f"{base.suffix}_{text}", base.prefix)
        if len(tokens) > 1 and tokens[0].kind == "letter" and tokens[-1].text == "T" and isinstance(base, Sym):
            index = self.indices(tokens[:-1])  # U^{iT}, as the LoRA paper writes the first i columns
            return Post(Sym(base.base, (*base.index, *index), f"{base.suffix}_upto", base.prefix), "T")
        return Pow(base, self.inside(tokens))

    def indices(self, tokens: list[Token]) -> tuple[Expr, ...]:
        if len(tokens) > 1 and all(token.kind == "letter" for token in tokens):
            if all(token.text in set("ijkl") for token in tokens):
                return tuple(Sym(token.text) for token in tokens)
            return (Sym(words_of(tokens)),)
        if len(tokens) == 1 and tokens[0].kind == "word":
            return (Sym(tokens[0].text),)
        inner = self.inside(tokens)
        return inner.items if isinstance(inner, Paren) and inner.opening == "" else (inner,)

    # atoms

    def atom(self) -> Expr:
        token = self.take()
        if token.kind == "number":
            return self.number(token.text)
        if token.kind == "letter":
            return self.letter(token)
        if token.kind == "word":
            return self.word(token.text)
        if token.kind == "group":
            return self.inside(token.groups[0])
        if token.kind == "open":
            return self.bracket(token.text)
        if token.kind == "bar":
            return self.bars(token.text)
        if token.kind == "grid":
            return self.grid(token)
        if token.kind == "field":
            return self.number_field(token.text)
        if token.kind == "partial":
            return self.derivative(token.text)
        if token.kind == "dots":
            return Dots()
        if token.kind == "macro":
            return self.macro(token)
        if token.text == "·" and (self.peek() is END or self.peek().kind in {"break", "close", "bar"}):
            return Sym("·")  # the empty place of ⟨·, ·⟩
        raise Unparsed(
            f"{token.text!r} cannot begin an expression" if token is not END else "something is missing at the end"
        )

    def number(self, text: str) -> Expr:
        plain = text.replace(",", "")
        places = len(plain.partition(".")[2])
        if self.at("dots") and places:
            self.take()
            return Num(Fraction(plain), Fraction(1, 10**places), places, truncated=True)
        return Num(Fraction(plain), Fraction(1, 10**places), places)

    def letter(self, token: Token) -> Expr:
        if token.text == "Delta" and self.peek().kind == "letter":
            name = self.letter(self.take())
            assert isinstance(name, Sym)
            return Sym(name.base, name.index, name.suffix, f"delta_{name.prefix}")
        return Sym(token.text)

    def derivative(self, sign: str) -> Expr:
        if sign == "∇" and self.at("script", "_"):
            self.take()
            by = self.inside(self.argument())
            if isinstance(by, Sym) and self.peek().kind == "letter":
                self.take()
                return Sym(by.base, by.index, by.suffix, "grad_")
        inner = self.factor()
        if isinstance(inner, Sym):
            return Sym(inner.base, inner.index, inner.suffix, "partial_" if sign == "∂" else "grad_")
        raise Unparsed(f"{sign} stands before something that is no name")

    def word(self, name: str) -> Expr:
        name = OTHER_NAMES.get(name, name)
        if name not in COMPUTED:
            return Sym(name)
        index: tuple[Expr, ...] = ()
        power: Expr | None = None
        while self.at("script"):
            script = self.take().text
            if script == "_":
                index = self.indices(self.argument())
            else:
                power = self.inside(self.argument())
        if self.at("open", "("):
            argument: Expr = self.bracket(self.take().text)
            while self.at("script", "^") and words_of(self.lookahead_group()) == "T":
                break
        else:
            if not self.starts_factor():
                return Sym(name)
            argument = self.function_argument()
        result: Expr = Word(name, argument, index)
        return Pow(result, power) if power is not None else result

    def lookahead_group(self) -> list[Token]:
        token = self.peek(1)
        return token.groups[0] if token.kind == "group" else [token]

    def function_argument(self) -> Expr:
        factors = [self.factor()]
        while self.starts_factor() and not (
            self.at("word") and OTHER_NAMES.get(self.peek().text, self.peek().text) in COMPUTED
        ):
            factors.append(self.factor())
        return factors[0] if len(factors) == 1 else Mul(tuple(factors), ("",) * len(factors))

    def bracket(self, opening: str) -> Expr:
        if opening == "‖" or opening == "|":
            return self.fenced(opening, "close")
        outer, self.closing_bar = self.closing_bar, False
        items: list[Expr] = []
        if not self.at("close"):
            items.append(self.sum())
            while self.at("break", ",", ";"):
                self.take()
                items.append(self.sum())
        closing = self.take()
        self.closing_bar = outer
        if closing.kind != "close":
            raise Unparsed(f"{opening!r} is not closed where {closing.text or 'the end'!r} stands")
        if opening == "⟨":
            if len(items) != 2:
                raise Unparsed("⟨ ⟩ needs two arguments")
            return Inner(items[0], items[1])
        if opening in "⌊⌈":
            return Fence("floor" if opening == "⌊" else "ceil", items[0])
        return Paren(tuple(items), opening, closing.text)

    def bars(self, bar: str) -> Expr:
        return self.fenced(bar, "bar")

    def fenced(self, bar: str, closing_kind: str) -> Expr:
        outer, self.closing_bar = self.closing_bar, closing_kind == "bar"
        inner = self.sum()
        self.closing_bar = outer
        closing = self.take()
        if closing.text != bar:
            raise Unparsed(f"{bar!r} is not closed")
        return Fence("norm" if bar == "‖" else "abs", inner)

    def grid(self, token: Token) -> Expr:
        rows = tuple(tuple(self.inside(cell) if cell else Dots() for cell in row) for row in token.cells)
        if len({len(row) for row in rows}) != 1:
            raise Unparsed("the rows of a matrix have different lengths")
        kind = {"vmatrix": "det", "cases": "cases"}.get(token.text, "matrix")
        grid = Grid(rows)
        return Word("det", grid) if kind == "det" else Grid(rows, kind)

    def number_field(self, name: str) -> Expr:
        if name == "E":
            return Sym("E")
        if self.at("script", "^"):
            self.take()
            shape = self.inside(self.argument())
            sizes = shape.factors if isinstance(shape, Mul) and set(shape.signs[1:]) == {"×"} else (shape,)
            return Space(name, sizes)
        return Space(name)

    def macro(self, token: Token) -> Expr:
        name, groups = token.text, token.groups
        if name in FRACTIONS:
            return self.fraction(self.inside(groups[-2]), self.inside(groups[-1]))
        if name in BINOMIALS:
            return Binomial(self.inside(groups[0]), self.inside(groups[1]))
        if name == "sqrt":
            degree = self.inside(groups[0]) if len(groups) == 2 else Num(Fraction(2), Fraction(1))
            return Root(self.inside(groups[-1]), degree)
        if name in ACCENTS:
            inner = self.inside(groups[0])
            if isinstance(inner, Sym):
                return Sym(inner.base, inner.index, f"{inner.suffix}_{ACCENTS[name]}", inner.prefix)
        if name in {"sum", "prod"}:
            return self.big(name)
        if name == "pmod":
            raise Unparsed("congruences are not read")
        raise Unparsed(f"\\{name} is not read")

    def fraction(self, above: Expr, below: Expr) -> Expr:
        return Div(above, below)

    def big(self, kind: str) -> Expr:
        indices: tuple[str, ...] = ()
        lower: Expr | None = None
        upper: Expr | None = None
        above: Expr | None = None
        while self.at("script"):
            if self.take().text == "^":
                upper = self.inside(self.argument())
                continue
            under = _Parser(self.argument())
            names = under.index_names()
            indices = tuple(names)
            if under.at("relation", "="):
                under.take()
                lower = under.sum()
            elif under.at("relation", ">"):
                under.take()
                above = under.sum()
            under.expect_end()
        if not indices:
            raise Unparsed(f"a {kind} without an index")
        return Big(kind, indices, lower, upper, self.product(), above)

    def index_names(self) -> list[str]:
        names = []
        while self.at("letter") or self.at("break", ","):
            token = self.take()
            if token.kind == "letter":
                names.append(token.text)
        return names
