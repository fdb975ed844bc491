"""Real sentences with human judgements of their sentiment, in four domains, read with no network.

The ground truth of VADER (Hutto and Gilbert 2014): every sentence was rated by at least 20 people on a scale from
−4 to 4. The task is the sign of the mean rating.
"""

import html
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .assets import find

DOMAINS = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


@dataclass(frozen=True)
class Reviews:
    """Sentences, their mean ratings in [−4, 4], and labels: 1 where the rating is above 0, else 0."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(int(score > 0) for score in self.scores)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, n: int) -> "Reviews":
        """The first n sentences; the order is random already. Raises ValueError if there are not that many."""
        if not 0 < n <= len(self):
            raise ValueError(f"n={n} must be between 1 and {len(self)}, the sentences there are")
        return Reviews(self.texts[:n], self.scores[:n])


def load_reviews(domain: str = "movies") -> dict[str, Reviews]:
    """Sentences of one domain, split into "train" (70 %), "validation" (15 %) and "test" (15 %).

    `domain` is one of "movies", "products", "editorials", "tweets". Sentences rated exactly 0 have no sign and are
    left out; so are repetitions of a sentence, but for capitals and punctuation, which could otherwise stand in two
    parts. The split is the same on every machine.

    Raises ValueError for another domain, FileNotFoundError with the command to run if the data is not fetched yet.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain={domain!r} is none of {', '.join(DOMAINS)}")
    found: dict[str, tuple[str, float]] = {}
    for line in (find("reviews") / DOMAINS[domain]).read_text(encoding="utf-8").splitlines():
        _, score, text = line.split("\t", maxsplit=2)
        text = html.unescape(text).replace("''", '"').strip()
        if float(score) != 0:
            words = " ".join(re.findall(r"\w+", text.casefold()))
            found.setdefault(words or text, (text, float(score)))
    sentences = list(found.values())
    order = np.random.default_rng(0).permutation(len(sentences))
    parts, start = {}, 0
    for name, share in SHARES.items():
        stop = start + round(share * len(sentences)) if name != "test" else len(sentences)
        chosen = [sentences[i] for i in order[start:stop]]
        parts[name] = Reviews(tuple(text for text, _ in chosen), tuple(score for _, score in chosen))
        start = stop
    return parts


def tokenize(reviews: Reviews, tokenizer: Any, max_length: int = 48) -> dict[str, Tensor]:
    """Reviews as tensors for `train`: "input_ids" and "attention_mask" of shape (n, longest), "labels" of shape (n,).

    Sentences longer than `max_length` tokens are cut. Raises ValueError for an empty set of reviews.
    """
    if len(reviews) == 0:
        raise ValueError("there are no reviews to tokenize")
    encoded = tokenizer(list(reviews.texts), truncation=True, max_length=max_length, padding=True, return_tensors="pt")
    return {
        "input_ids": encoded["input_ids"],
        "attention_mask": encoded["attention_mask"],
        "labels": torch.tensor(reviews.labels),
    }
