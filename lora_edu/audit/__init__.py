r"""An audit of foreign LoRA code: every invariant asked of it, and a report that says how to read what fails.

    audit(lambda base: TheirLayer(base, r=4, alpha=6), r=4, alpha=6)

Nothing is assumed about names or classes: the code is a function that takes a base layer and returns the adapted one.
What it can do besides (merge, save, combine) is handed over as functions. Chapter 19 reads such reports. In reading
order: `of_the_layer` and `of_its_use` (the questions), `subject` (what they look at), `ask`, `report`.
"""

from .ask import INVARIANTS, audit, invariant_says
from .report import Audit, Finding

__all__ = ["INVARIANTS", "Audit", "Finding", "audit", "invariant_says"]
