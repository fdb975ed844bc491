"""One look for every figure of the book: call `use_book_style()` once, and take colours from `COLORS`.

The colours are the colour-blind-safe set of Okabe and Ito (2008), one fixed colour for each method, so that LoRA
looks the same in every chapter. Grey stands for "before" or "background"; red is kept for what goes wrong.
"""

import matplotlib.pyplot as plt
from cycler import cycler  # a part of matplotlib

INK = "#1f2933"
GREY = "#8a94a0"
ACCENT = "#0072b2"

COLORS = {
    "LoRA": ACCENT,
    "full fine-tuning": "#d55e00",
    "head only": GREY,
    "adapter": "#009e73",
    "prefix": "#cc79a7",
    "wrong": "#b3261e",
    "highlight": "#e69f00",
    "ink": INK,
    "grey": GREY,
}


def use_book_style() -> None:
    """Set matplotlib's defaults: white ground, thin axes, legible sizes, the book's colour cycle."""
    cycle = [COLORS[name] for name in ("LoRA", "full fine-tuning", "adapter", "prefix", "highlight", "head only")]
    plt.rcParams.update(
        {
            "figure.figsize": (7.2, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.prop_cycle": cycler(color=cycle),
            "axes.edgecolor": GREY,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e7eb",
            "grid.linewidth": 0.8,
            "lines.linewidth": 2.0,
            "legend.frameon": False,
            "xtick.color": INK,
            "ytick.color": INK,
            "text.color": INK,
            "font.size": 10,
            "image.cmap": "cividis",
        }
    )
