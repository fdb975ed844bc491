"""Figures that a reader moves: in the built page with no kernel and no network, in Jupyter and Colab as widgets.

Each function takes a matrix, a picture, spectra or the name of a model, and returns a `HandsOn`, which shows itself
as the last line of a cell. The drawing and the arithmetic are JavaScript, in the `.js` files beside this one; Python
checks the input and packs it. Read `figure` for how one object serves both the page and the notebook.
"""

from .calculator import calculator
from .figure import HandsOn
from .matrices import rank_lab, svd_ellipse
from .picture import rank_slider
from .spectra import update_spectra

__all__ = ["HandsOn", "calculator", "rank_lab", "rank_slider", "svd_ellipse", "update_spectra"]
