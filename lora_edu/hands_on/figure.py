"""One figure as an object: a live widget where there is a kernel, and a piece of HTML where there is none.

Jupyter and Colab show the widget (anywidget carries the module of `source` to the browser). A built page shows the
HTML: the same data as JSON, around it what can be said without any script, and the page's own copy of the module
brings it to life. The HTML depends on the data alone, so that outputs can be compared from run to run.
"""

import html
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import anywidget
import traitlets

from .source import style, widget_module


class HandsOn(anywidget.AnyWidget):
    """A figure that a reader moves. `state` is what can be moved, and follows the reader where there is a kernel.

    `figure` names the drawing, `data` is what it draws, `title` what it is called, `still` its HTML for a reader
    without JavaScript, `words` the same in a line of plain text.
    """

    _esm = widget_module()
    _css = style()
    figure = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    def __init__(
        self, *, figure: str, title: str, data: dict[str, Any], state: dict[str, Any], still: str, words: str
    ) -> None:
        super().__init__(figure=figure, title=title, data=data, state=state)
        self.still, self.words = still, words
        self._initial = dict(state)

    def __repr__(self) -> str:
        return f"{self.title}: {self.words}"

    def _repr_html_(self) -> str:
        """The figure as it was made, for a page."""
        data = {key: value for key, value in self.data.items() if key != "picture"}  # the page has it as an image
        content = {"figure": self.figure, "title": self.title, "data": data, "state": self._initial}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return (
            f'<div class="hands-on" data-figure="{self.figure}" role="group" aria-label="{html.escape(self.title)}">'
            f'<script type="application/json">{text}</script>\n{self.still}</div>'
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        bundle["text/plain"] = repr(self)
        if "google.colab" not in sys.modules:  # Colab has the kernel at hand: the widget alone, no choice to make
            bundle["text/html"] = self._repr_html_()
        return bundle, metadata


def table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """A small table for `still`: the first row and the first column are its headings."""
    head, *body = [[html.escape(cell) for cell in row] for row in rows]
    lines = [f"<table><caption>{html.escape(caption)}</caption>"]
    lines.append("<thead><tr>" + "".join(f'<th scope="col">{cell}</th>' for cell in head) + "</tr></thead><tbody>")
    for first, *rest in body:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return "\n".join(lines) + "</tbody></table>"
