"""Numbers written in prose: which digits are numbers, what they are worth, and what the words before them promise."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
SCALES = {"%": -2, "per cent": -2, "percent": -2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12,
          "k": 3, "K": 3, "M": 6, "B": 9, "T": 12}  # fmt: skip
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
NUMERAL = re.compile(
    rf"""(?<![\w.,])(?<![A-Za-z]-)                       # no part of a name, such as float64 or v2
    (?P<sign>(?<![\w)\]])[-−+])?
    (?:(?P<digits>{_DIGITS})(?:e(?P<e>[-+]?\d+)|\s?[·×]\s?10(?P<ten>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)|(?P<power>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+))?
       |(?P<fraction>[½⅓⅔¼¾⅕⅛]))
    (?:\s?(?P<scale>%|per\ cent\b|percent\b|thousand\b|million\b|billion\b|trillion\b)|(?P<letter>[kKMBT])\b)?
    (?![\w])""",
    re.VERBOSE,
)
FRACTIONS = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅛": (1, 8)}
_BEFORE = {
    "≈": r"(?:about|nearly|almost|roughly|around|approximately|close to|near|some|≈|~)",
    ">": r"(?:more than|greater than|above|beyond)",
    "<": r"(?:less than|fewer than|under|below|smaller than)",
    "≥": r"(?:at least|no less than|no fewer than)",
    "≤": r"(?:at most|up to|no more than)",
}
BEFORE = {relation: re.compile(words + r"\s+(?:the\s+|a\s+)?$", re.IGNORECASE) for relation, words in _BEFORE.items()}


@dataclass(frozen=True)
class Numeral:
    """A number in prose: its characters, value, unit of the last digit, and the relation in the words before it."""

    text: str
    start: int
    value: Fraction
    unit: Fraction
    relation: str  # "=", "≈", "<", ">", "≤", "≥"
    rounded: bool  # right to half a unit is enough: it has decimals, a scale, or an "about"
    digits: str  # as printed, without separators, sign and scale


def numerals(text: str, from_: int = 0, context: str | None = None) -> Iterator[Numeral]:
    """All numbers in a piece of prose. `context` is the text of the whole block; the piece begins in it at `from_`."""
    whole = context if context is not None else text
    for match in NUMERAL.finditer(whole):
        if not from_ <= match.start() < from_ + len(text):
            continue
        yield _read(match, whole)


def _read(match: re.Match[str], whole: str) -> Numeral:
    digits, start = match["digits"], match.start()
    if match["fraction"]:
        value, unit, places = Fraction(*FRACTIONS[match["fraction"]]), Fraction(0), 0
        digits = match["fraction"]
    else:
        digits = digits.replace(",", "")
        places = len(digits.partition(".")[2])
        value, unit = Fraction(digits), Fraction(1, 10**places)
    exponent = int(match["e"] or 0) + int((match["ten"] or "0").translate(SUPERSCRIPTS))
    value, unit = value * Fraction(10) ** exponent, unit * Fraction(10) ** exponent
    if match["power"]:
        value, unit = value ** int(match["power"].translate(SUPERSCRIPTS)), Fraction(0)
    scale = match["scale"] or match["letter"]
    if scale:
        factor = Fraction(10) ** SCALES[re.sub(r"\s+", " ", scale)]
        value, unit = value * factor, unit * factor
    if match["sign"] in {"-", "−"}:
        value = -value
    relation = next((name for name, words in BEFORE.items() if words.search(whole[:start])), "=")
    if relation == "≈" and not places and unit:
        zeros = len(digits) - len(digits.rstrip("0"))
        unit = unit * Fraction(10) ** min(zeros, max(len(digits) - 1, 0))
    rounded = relation == "≈" or places > 0 or bool(scale) or exponent != 0
    return Numeral(match.group(), start, value, unit, relation, rounded, digits)
