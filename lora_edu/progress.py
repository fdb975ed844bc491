"""A tqdm bar that leaves nothing behind: in a terminal on standard error, in a notebook in one output that ends empty.

Notebooks are compared with their stored outputs, so a finished bar must not stay in the page.
"""

import html
import io
from typing import Any

from tqdm import tqdm


class _NotebookLine(io.StringIO):
    """A file that shows the last line written to it in one notebook output."""

    def __init__(self) -> None:
        super().__init__()
        from IPython.display import display

        self.handle: Any = display({"text/html": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def write(self, text: str) -> int:
        if line := text.strip("\r\n\x1b[A "):
            self.handle.update({"text/html": f"<pre>{html.escape(line)}</pre>"}, raw=True)
        return len(text)

    def clear(self) -> None:
        self.handle.update({"text/html": ""}, raw=True)


class _NotebookBar(tqdm):  # type: ignore[misc]  # tqdm has no types
    def __init__(self, **settings: Any) -> None:
        self.line = _NotebookLine()
        super().__init__(file=self.line, ncols=88, **settings)

    def close(self) -> None:
        super().close()
        self.line.clear()


def progress_bar(total: int, description: str, *, initial: int = 0, show: bool = True) -> tqdm:
    """A bar over `total` steps, `initial` of them done. Use it in a `with` block; `show=False` makes it silent."""
    settings: dict[str, Any] = {"total": total, "initial": initial, "desc": description, "leave": False}
    if show and _in_notebook():
        return _NotebookBar(**settings)
    return tqdm(disable=not show, **settings)


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
