"""Statements that are decided while the book runs, each with the kind of evidence that it has.

`exact` says that SymPy decided it and nothing was rounded. `numeric` says that it held on many generic inputs, or
shows one on which it fails. `empirical` says that an interval over seeds lies where it was claimed to lie. All give a
`Statement`; `made_statements` hands those made so far to the book's verifier.
"""

from .exactness import exact
from .generic_inputs import Space, matrices, vectors
from .intervals import empirical
from .statement import Statement, made_statements
from .trials import numeric

__all__ = ["Space", "Statement", "empirical", "exact", "made_statements", "matrices", "numeric", "vectors"]
