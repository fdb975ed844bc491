"""What an audit found, and how it shows itself: a table with one line an invariant."""

import html
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What one invariant found: `verdict` is "holds", "fails" or "not asked"; the numbers are None where none is."""

    invariant: str
    verdict: str
    measured: float | None
    tolerance: float | None
    reading: str

    @property
    def shown(self) -> str:
        """The measured number; of one that holds and is not 0, that it is below what is allowed."""
        return f"< {shown(self.tolerance)}" if self.verdict == "holds" and self.measured else shown(self.measured)


@dataclass(frozen=True)
class Audit:
    """The findings, in the order of the questions. True when nothing fails. Shows itself as a table."""

    findings: tuple[Finding, ...]

    @property
    def fails(self) -> list[str]:
        """The names of the invariants that fail."""
        return [finding.invariant for finding in self.findings if finding.verdict == "fails"]

    def __getitem__(self, invariant: str) -> Finding:
        return {finding.invariant: finding for finding in self.findings}[invariant]

    def __bool__(self) -> bool:
        return not self.fails

    def __repr__(self) -> str:
        lines = [f"{'invariant':<18} {'verdict':<10}{'measured':>10}{'allowed':>9}"]
        for f in self.findings:
            lines.append(f"{f.invariant:<18} {f.verdict:<10}{f.shown:>10}{shown(f.tolerance):>9}")
        lines += [f"{f.invariant}: {f.reading}" for f in self.findings if f.verdict == "fails"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        # White on a ground of its own, so that it is as legible on a dark page as on a light one.
        grounds = {"holds": "#17694b", "fails": "#b3261e", "not asked": "#5b6470"}
        chip = "color:#fff;padding:0 .4em;border-radius:.2em"
        rows = "".join(
            f'<tr><td>{html.escape(f.invariant)}</td><td style="white-space:nowrap">'
            f'<b style="background:{grounds[f.verdict]};{chip}">{f.verdict}</b></td>'
            f"<td>{html.escape(f.shown)}</td><td>{shown(f.tolerance)}</td>"
            f'<td style="text-align:left;min-width:15em">{html.escape(f.reading)}</td></tr>'
            for f in self.findings
        )
        head = "".join(f"<th>{name}</th>" for name in ("invariant", "verdict", "measured", "allowed", "how to read it"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def shown(value: float | None) -> str:
    """Two digits; below 1e-4 only the power of ten, since what rounding leaves differs between processors."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    return f"{value:.2g}" if value == 0 or abs(value) >= 1e-4 else f"1e{round(math.log10(abs(value)))}"
