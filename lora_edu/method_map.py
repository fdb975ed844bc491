"""The map of PEFT as a drawing: which method belongs to which family, and what of it stays in the finished model.

`METHODS` is the data, after the survey of Lialin et al. 2023 (arXiv:2303.15647v1, §3.1 to §3.4 and §6 to §11), and
`MethodMap()` draws it, in one layout for wide pages and one for phones. Read `added` next: how a method gets into a
model.
"""

import html
import math
from dataclasses import dataclass

from .plotting import COLORS

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, width, height


@dataclass(frozen=True)
class Method:
    """One method: its family and group in the survey, what of it stays (a key of `STAYS`), what it does."""

    name: str
    family: str
    group: str
    stays: tuple[str, ...]
    does: str


STAYS = {"weights": "folds into the weights", "layers": "extra layers stay", "positions": "extra positions stay"}
BOTH = ("layers", "positions")
METHODS = (
    Method("Adapters", "additive", "adapters", ("layers",), "thin layers behind the layers that are there"),
    Method("AdaMix", "additive", "adapters", ("layers",), "several adapters, one at random for each pass; then a mean"),
    Method("Prompt tuning", "additive", "soft prompts", ("positions",), "trained vectors in front of the text"),
    Method("Prefix tuning", "additive", "soft prompts", ("positions",), "trained keys and values in every attention"),
    Method("IPT", "additive", "soft prompts", ("positions",), "a prompt that a decoder makes of fewer numbers"),
    Method("IA3", "additive", "others", ("weights",), "factors on keys, values and the feed-forward part"),
    Method("LST", "additive", "others", ("layers",), "a small network that reads what the frozen one computes"),
    Method("Top layers", "selective", "", ("weights",), "the last layers of the model"),
    Method("BitFit", "selective", "", ("weights",), "the biases"),
    Method("Diff pruning", "selective", "", ("weights",), "a sparse change, and a mask that is learned with it"),
    Method("FishMask", "selective", "", ("weights",), "the parameters with the largest Fisher information"),
    Method("FAR", "selective", "", ("weights",), "chosen rows of the matrices"),
    Method("Intrinsic SAID", "reparametrization", "", ("weights",), "all parameters, along a few random directions"),
    Method("LoRA", "reparametrization", "", ("weights",), "the change of a matrix as a product of two thin ones"),
    Method("KronA", "reparametrization", "", ("weights",), "the change of a matrix as a Kronecker product"),
    Method("MAM adapter", "hybrid", "", BOTH, "adapters beside the feed-forward part, and a prefix"),
    Method("UniPELT", "hybrid", "", BOTH, "adapters, a prefix and LoRA, each behind a gate"),
    Method("S4", "hybrid", "", BOTH, "adapters, prefixes, BitFit and LoRA, by groups of layers"),
    Method("Compacter", "hybrid", "", ("layers",), "adapters made of Kronecker products"),
    Method("SparseAdapter", "hybrid", "", ("layers",), "wide adapters of which a part is pruned"),
)
FAMILIES = {
    "additive": ("Additive", ("trains what was not there",), COLORS["adapter"]),
    "hybrid": ("Hybrid", ("mixes ideas",), COLORS["prefix"]),
    "selective": ("Selective", ("trains a part of", "what is there"), COLORS["highlight"]),
    "reparametrization": ("Reparametrization", ("trains fewer numbers", "that describe a change"), COLORS["LoRA"]),
}


@dataclass(frozen=True)
class Layout:
    """Where the lands lie (in the order of `FAMILIES`), the towns of the first, the tutorial's LoRA, the legend."""

    size: Point
    lands: tuple[Box, ...]
    groups: dict[str, Point]
    astray: Point
    legend: tuple[Point, ...]


LAYOUTS = {
    "wide": Layout(
        size=(720, 500),
        lands=((8, 8, 704, 196), (258, 236, 204, 206), (8, 226, 222, 226), (490, 226, 222, 226)),
        groups={"adapters": (62, 118), "soft prompts": (232, 118), "others": (422, 118)},
        astray=(560, 118),
        legend=((64, 482), (292, 482), (484, 482)),
    ),
    "narrow": Layout(
        size=(360, 902),
        lands=((4, 4, 352, 318), (70, 344, 206, 206), (2, 572, 164, 240), (170, 572, 188, 240)),
        groups={"adapters": (44, 116), "soft prompts": (206, 116), "others": (44, 240)},
        astray=(232, 252),
        legend=((20, 842), (20, 866), (20, 890)),
    ),
}


@dataclass(frozen=True, repr=False)
class MethodMap:
    """The map; with `tutorial`, also where the tutorial that the book grew out of puts LoRA.

    It shows itself on a page and in a notebook, and as words where there is no picture.
    """

    tutorial: bool = False

    def __repr__(self) -> str:
        names = {family: ", ".join(m.name for m in METHODS if m.family == family) for family in FAMILIES}
        lines = [f"{FAMILIES[family][0]}: {towns}." for family, towns in names.items()]
        error = ["An arrow leads from Additive, where the tutorial puts LoRA, to Reparametrization."]
        return "\n".join(lines + error * self.tutorial)

    def _repr_html_(self) -> str:
        style = (
            ".method-map{container-type:inline-size;color:inherit}.method-map svg{display:block;width:100%;height:auto}"
            ".method-map svg.narrow{display:none}@container (max-width:600px){.method-map svg.wide{display:none}"
            ".method-map svg.narrow{display:block;max-width:27rem;margin:auto}}"
        )
        return f'<div class="method-map"><style>{style}</style>\n{self.svg("wide")}\n{self.svg("narrow")}\n</div>'

    def svg(self, layout: str = "wide") -> str:
        """The drawing as one SVG element. Its colours follow the text of the page that it stands in."""
        plan = LAYOUTS[layout]
        (width, height), lands = plan.size, dict(zip(FAMILIES, plan.lands, strict=True))
        parts = [_ferry(lands["hybrid"], lands[family]) for family in FAMILIES if family != "hybrid"]
        for family in FAMILIES:
            parts += _land(family, lands[family], plan.groups)
        if self.tutorial:
            parts += _arrow(plan.astray, lands["reparametrization"])
        for (x, y), (kind, words) in zip(plan.legend, STAYS.items(), strict=True):
            parts += [_marker(kind, x, y), _text(x + 15, y + 5, words, 14)]
        name = f"method-map-{layout}{'-tutorial' * self.tutorial}"
        head = f'<title id="{name}-t">The map of PEFT</title><desc id="{name}-d">{html.escape(repr(self))}</desc>'
        return (
            f'<svg class="{layout}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-labelledby="{name}-t" aria-describedby="{name}-d" fill="currentColor" '
            f'font-family="var(--pst-font-family-heading, system-ui, sans-serif)">\n'
            + "\n".join([head, *parts, "</svg>"])
        )


def _land(family: str, box: Box, places: dict[str, Point]) -> list[str]:
    """A land with its name and its towns."""
    (title, what, colour), (x, y, w, h) = FAMILIES[family], box
    look = f'fill="{colour}" fill-opacity="0.13" stroke="{colour}" stroke-width="2"'
    parts = [f'<path d="{_coast(x, y, w, h)}" {look}/>', _text(x + w / 2, y + 37, title, 16, "middle", "bold")]
    parts += [_text(x + w / 2, y + 57 + 16 * row, words, 13, "middle") for row, words in enumerate(what)]
    below = (y + 45 + 16 * len(what) + y + h - 14) / 2  # the middle of what is left of the land
    for group in dict.fromkeys(m.group for m in METHODS if m.family == family):
        members = [m for m in METHODS if (m.family, m.group) == (family, group)]
        left, top = places[group] if group else (x + w / 2 - 56, below - 12 * (len(members) - 1))
        parts += [_text(left - 6, top - 20, group, 13, style="italic")] if group else []
        parts += [_town(method, left, top + 24 * row) for row, method in enumerate(members)]
    return parts


def _town(method: Method, x: float, y: float) -> str:
    chosen = method.name == "LoRA"
    ring = f'<circle cx="{x:g}" cy="{y:g}" r="9" fill="none" stroke="{COLORS["LoRA"]}" stroke-width="3"/>' * chosen
    marks = "".join(_marker(kind, x + 15 * place, y) for place, kind in enumerate(method.stays))
    name = _text(x + 15 * len(method.stays), y + 5, method.name, 15, style="bold" if chosen else "")
    return f"<g><title>{html.escape(f'{method.name}: {method.does}')}</title>{ring}{marks}{name}</g>"


def _marker(kind: str, x: float, y: float) -> str:
    shapes = {
        "weights": f'<circle cx="{x:g}" cy="{y:g}" r="4.5"/>',
        "layers": f'<path d="M{x:g} {y - 6:g}l6 6-6 6-6-6z" fill="none" stroke="currentColor" stroke-width="1.6"/>',
        "positions": f'<rect x="{x - 6:g}" y="{y - 3.5:g}" width="12" height="7" rx="1"/>',
    }
    return shapes[kind]


def _text(x: float, y: float, words: str, size: int, anchor: str = "start", style: str = "") -> str:
    looks = {"bold": ' font-weight="650"', "italic": ' font-style="italic"', "": ""}[style]
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{looks}>{html.escape(words)}</text>'


def _coast(x: float, y: float, w: float, h: float) -> str:
    """A closed line a little inside the box: a rounded rectangle, made uneven by two waves."""
    points = []
    for t in (2 * math.pi * step / 96 for step in range(96)):
        reach = 0.975 + 0.012 * math.sin(5 * t + w) + 0.010 * math.sin(9 * t + h)
        across, down = (math.copysign(abs(f(t)) ** 0.4, f(t)) * reach for f in (math.cos, math.sin))
        points.append(f"{x + w / 2 * (1 + across):.1f} {y + h / 2 * (1 + down):.1f}")
    return f"M{'L'.join(points)}z"


def _ferry(start: Box, end: Box) -> str:
    """A dotted line from coast to coast, along the line through the middles of two lands."""
    (a, b), (c, d) = ((x + w / 2, y + h / 2) for x, y, w, h in (start, end))
    across, down = c - a, d - b
    shares = [min(w / 2 / max(abs(across), 1), h / 2 / max(abs(down), 1)) for *_, w, h in (start, end)]
    line = f"M{a + shares[0] * across:g} {b + shares[0] * down:g}L{c - shares[1] * across:g} {d - shares[1] * down:g}"
    return f'<path d="{line}" stroke="currentColor" stroke-width="3" stroke-dasharray="0.1 7" stroke-linecap="round"/>'


def _arrow(start: Point, land: Box) -> list[str]:
    """From the dashed ring where the tutorial has LoRA to the land that it lies in."""
    (a, b), (x, y, w, _) = start, land
    c, d = x + 0.72 * w, y + 5
    line = 'fill="none" stroke="var(--book-failed, #b4441c)" stroke-width="2"'
    return [
        f'<circle cx="{a:g}" cy="{b:g}" r="7" stroke-dasharray="3 3" {line}/>',
        f'<path d="M{a + 5:g} {b + 7:g}Q{c:g} {(b + d) / 2:g} {c:g} {d:g}m-6-9 6 9 6-9" {line}/>',
        _text(a + 20, b - 2, "LoRA, says", 13),
        _text(a + 20, b + 14, "the tutorial", 13),
    ]
