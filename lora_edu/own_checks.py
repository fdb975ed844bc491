"""What labelled texts may have wrong before anything is trained, and parts of them that share no text.

A fault that makes the result worthless is a `DataError`. What can be put right is put right, and told in a note.
Next: `baseline`, what a training has to beat.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping

from .own_data import DataError, Examples

LEAST = 10  # different texts of a class: 15 % of fewer than this is one sentence or none
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def same_words(text: str) -> str:
    """A key that texts share when they differ only in capitals, punctuation, spacing or the form of a character.

    Letters, their marks and digits count, in any script. A text without any, ":-)", is its own key.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join(kept.split()) or folded


def clean_examples(examples: Examples, *, least: int = LEAST) -> tuple[Examples, list[str]]:
    """The examples that can be learned from, and a note on each thing that was put right.

    Space around labels is dropped. Of a text that is repeated, to the letter, one copy stays. A text that has several
    labels is left out. Texts that differ only in capitals or punctuation stay, and `split_examples` keeps them
    together.

    Raises DataError if labels differ only in capitals, if there are fewer than two classes, or if one has fewer than
    `least` texts with words of their own.
    """
    notes = []
    bare = tuple(label.strip() for label in examples.labels)
    if len(set(bare)) < len(set(examples.labels)):
        changed = next(label for label in sorted(set(examples.labels)) if label != label.strip())
        notes.append(f"labels that differ only by space are taken as one, such as {changed!r} and {changed.strip()!r}")
    _refuse_variants(Counter(bare))
    labels_of: dict[str, dict[str, int]] = defaultdict(dict)  # text → label → its first row
    for row, (text, label) in enumerate(zip(examples.texts, bare, strict=True)):
        labels_of[text].setdefault(label, row)
    torn = {text for text, found in labels_of.items() if len(found) > 1}
    rows = [row for text, found in labels_of.items() if text not in torn for row in found.values()]
    if torn:
        found = next(found for text, found in labels_of.items() if text in torn)
        (one, first), (other, second) = list(found.items())[:2]
        notes.append(
            f"{_count(len(torn), 'text')} with several labels left out, the first in line {examples.lines[first]} as "
            f"{one!r} and in line {examples.lines[second]} as {other!r}"
        )
    torn_rows = sum(text in torn for text in examples.texts)
    if repeated := len(examples) - torn_rows - len(rows):
        notes.append(f"{_count(repeated, 'repetition')} of a text left out")
    cleaned = Examples(examples.texts, bare, examples.lines).take(rows)
    groups = groups_of(cleaned)
    if (alike := len(cleaned) - len(groups)) > 0:
        verb = "differs" if alike == 1 else "differ"
        notes.append(f"{_count(alike, 'text')} that {verb} from another only in capitals or punctuation kept beside it")
    _check_classes(Counter(cleaned.labels[rows[0]] for rows in groups.values()), set(bare), least)
    return cleaned, notes


def groups_of(examples: Examples) -> dict[str, list[int]]:
    """The rows of each group of texts with the same words, in an order that their contents decide, not the file."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(examples)), key=lambda row: (examples.texts[row], examples.labels[row])):
        groups[same_words(examples.texts[row])].append(row)
    return dict(sorted(groups.items(), key=lambda item: hashlib.sha256(item[0].encode()).hexdigest()))


def split_examples(examples: Examples, shares: Mapping[str, float] = SHARES) -> dict[str, Examples]:
    """Parts of about these shares of every class, no two of which have texts with the same words.

    The texts decide where they go: in another order of the file they go to the same part. The first part takes what
    the rounding of the others leaves.

    Raises DataError if a class has too few texts to stand in every part.
    """
    by_class: dict[str, list[list[int]]] = defaultdict(list)
    for rows in groups_of(examples).values():
        by_class[examples.labels[rows[0]]].append(rows)
    first, *others = shares
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for label, groups in sorted(by_class.items()):
        start = 0
        for name in others:
            stop = start + max(1, round(shares[name] * len(groups)))
            parts[name] += [row for rows in groups[start:stop] for row in rows]
            start = stop
        if start >= len(groups):
            raise DataError(f"class {label!r} has {_count(len(groups), 'text')}, too few for {len(shares)} parts")
        parts[first] += [row for rows in groups[start:] for row in rows]
    return {name: examples.take(rows) for name, rows in parts.items()}


def overlap(left: Examples, right: Examples) -> list[tuple[int, int]]:
    """Pairs (row of left, row of right) with the same words: what a test part may not have in common with training."""
    first = {same_words(text): row for row, text in reversed(list(enumerate(left.texts)))}
    keys = [same_words(text) for text in right.texts]
    return [(first[key], row) for row, key in enumerate(keys) if key in first]


def check_test_part(train: Examples, test: Examples) -> None:
    """Raise DataError if a text of `test` stands in `train`, or `test` has a label that `train` has not."""
    if shared := overlap(train, test):
        row, test_row = shared[0]
        raise DataError(
            f"{_count(len(shared), 'text')} of the test file can be read in the training file too, but for capitals "
            f"and punctuation (the first: line {test.lines[test_row]} is line {train.lines[row]}), so the test would "
            "measure memory: take them out of one of the two"
        )
    if foreign := sorted(set(test.labels) - set(train.labels)):
        raise DataError(f"the test file has the label {foreign[0]!r}, which the training file has not")


def _refuse_variants(labels: Counter[str]) -> None:
    folded: dict[str, str] = {}
    for label in sorted(labels):
        other = folded.setdefault(re.sub(r"\s+", " ", label.casefold()), label)
        if other != label:
            raise DataError(
                f"the labels {other!r} ({labels[other]} examples) and {label!r} ({labels[label]}) differ only in "
                "capitals or space: write them alike"
            )


def _check_classes(sizes: Counter[str], before: set[str], least: int) -> None:
    if len(before) < 2:
        raise DataError(f"all examples have the label {next(iter(before))!r}: there is nothing to tell apart")
    for label in sorted(before, key=lambda label: (sizes[label], label)):
        if sizes[label] < least:
            more = (
                f"; {len(before)} labels look like no classes at all" if len(before) > sum(sizes.values()) / 2 else ""
            )
            raise DataError(
                f"class {label!r} has {_count(sizes[label], 'different text')}, but at least {least} are needed to "
                f"train, choose and test{more}"
            )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
