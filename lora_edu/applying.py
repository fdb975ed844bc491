"""A finished folder of `fine_tune`, used: the adapter goes on its base, and texts get labels and probabilities."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .baseline import logits_of
from .encoders import load_base
from .files import load_adapter
from .fine_tuning import base_fingerprint, encode_texts
from .models import TextClassifier
from .peft_config import AdapterFileError
from .run_folder import REPORT, RUN, read_json


@dataclass(frozen=True)
class Tuned:
    """A model with its adapter, and what it needs to read texts and name what it says."""

    model: TextClassifier
    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        """The likeliest label of each text, and the probability that the model gives it."""
        if not texts:
            return []
        logits = logits_of(self.model, encode_texts(texts, self.tokenizer, self.max_length))
        best, label = logits.softmax(dim=1).max(dim=1)
        return [(self.labels[i], float(p)) for i, p in zip(label.tolist(), best.tolist(), strict=True)]


def load_tuned(folder: str | os.PathLike[str], model: str | None = None) -> Tuned:
    """Load what `fine_tune` wrote to `folder`, on the CPU. `model` says where the base is now, if it was moved.

    Raises FileNotFoundError if there is no such folder or its training is not finished; AdapterFileError if a file is
    damaged or was changed, or the base is not the one that the adapter was trained on; ModelError if there is none.
    """
    folder = Path(folder)
    if not (folder / REPORT).is_file():
        unfinished = (folder / RUN).is_file()
        why = (
            "its training is not finished: the same train command goes on" if unfinished else "is it what train wrote?"
        )
        raise FileNotFoundError(f"no {REPORT} in {folder}; {why}")
    try:
        report = read_json(folder / REPORT)
        labels = tuple(str(label) for label in report["labels"])
        settings = report["settings"]
        name, made_on, max_length = str(settings["model"]), settings["base"], int(settings["max length"])
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterFileError(f"{folder / REPORT} is damaged ({type(error).__name__}: {error})") from None
    base, tokenizer = load_base(model or name, max(2, len(labels)))
    if base_fingerprint(base) != made_on:
        raise AdapterFileError(
            f"the adapter in {folder} was trained on another base model than {model or name!r}: the weights are not "
            f"those that {name!r} had then"
        )
    load_adapter(base, folder)
    return Tuned(base.eval(), tokenizer, labels, max_length)
