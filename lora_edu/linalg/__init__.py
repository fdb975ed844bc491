"""Rank, the singular value decomposition, and what follows from them: the mathematics that LoRA stands on.

Every function takes a real matrix (anything `numpy.asarray` accepts) and says in its errors what it was given.
Chapters 06 to 10 build these functions; after them, read `lora_edu.layers`, which turns "rank at most r" into two
trained factors.
"""

from .decompositions import SVD, LowRank, best_rank_k, break_even_rank, energy, factored_size, svd
from .randomized import randomized_svd
from .rank import NumericalRank, exact_rank, numerical_rank, rank_by_minors
from .subspaces import Amplification, amplification, random_similarity, similarity_grid, subspace_similarity

__all__ = [
    "SVD",
    "Amplification",
    "LowRank",
    "NumericalRank",
    "amplification",
    "best_rank_k",
    "break_even_rank",
    "energy",
    "exact_rank",
    "factored_size",
    "numerical_rank",
    "random_similarity",
    "randomized_svd",
    "rank_by_minors",
    "similarity_grid",
    "subspace_similarity",
    "svd",
]
