"""The whole way in one call: checked examples in, a folder out with the adapter and a report on what it is worth.

Next: `run_folder`, how that folder is written; `applying`, which reads it; `command_line`, which calls both.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .baseline import frozen_head, judge, logits_of
from .checkpoints import fingerprint
from .checks import check_training
from .encoders import load_base, longest_input
from .files import save_adapter
from .inject import add_lora, lora_layers
from .own_checks import SHARES, check_test_part, clean_examples, split_examples
from .own_data import Examples
from .run_folder import CHECKPOINT, begin, finish, finished_report
from .training import train

ENCODER_LAYERS = r"encoder\..*"  # all linear layers but the head, which is trained whole


def fine_tune(
    examples: Examples,
    out: str | os.PathLike[str],
    *,
    test: Examples | None = None,
    model: str = "minilm",
    r: int = 8,
    alpha: float = 16,
    lr: float = 2e-3,
    epochs: int = 3,
    batch_size: int = 16,
    max_length: int = 128,
    seed: int = 0,
    device: str | None = None,
    checkpoint_every: int = 20,
    progress: bool = True,
    say: Callable[[str], None] = lambda note: None,
) -> dict[str, Any]:
    """Check the examples, split them, train LoRA on a part, test it beside two baselines, and return the report.

    Args:
        examples: as `read_examples` gives them. 70 % train, 15 % choose settings (validation), 15 % test.
        out: the folder to write. If it holds a training of the same data with the same settings that was interrupted,
            that goes on and ends exactly as if it had not been; if that is finished, its report is returned.
        test: examples to test on instead; then 85 % of the others train.
        model: see `load_base`.
        device: where to train; by default a GPU if there is one.
        say: is told each note on the data, and what is being done.

    Raises DataError for data that nothing should be trained on, ModelError for a model that cannot be used, ValueError
    for a setting out of range or an `out` that belongs to another training, FileExistsError for one with other files.
    """
    check_training(epochs, batch_size, lr, 0.1, 1.0, checkpoint_every)
    parts, notes = _parts(examples, test)
    names = tuple(sorted(set(parts["train"].labels)))
    for note in notes:
        say(note)
    base, tokenizer = load_base(model, len(names), seed)
    if (limit := longest_input(base)) is not None and max_length > limit:
        raise ValueError(f"max_length={max_length} exceeds the {limit} tokens that {model} can read")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', but torch sees no GPU here: leave it out, or say 'cpu'")
    if max_length < 4:
        raise ValueError(f"max_length={max_length} leaves no room for words: the tokenizer adds two marks of its own")
    data = {name: encode(part, tokenizer, names, max_length) for name, part in parts.items()}
    if cut := _longer(parts, tokenizer, max_length):
        notes.append(f"{cut} texts have more than {max_length} tokens, and are read up to there")
        say(notes[-1])

    settings = {"model": model, "base": base_fingerprint(base), "r": r, "alpha": float(alpha), "lr": lr}
    settings |= {"epochs": epochs, "batch size": batch_size, "max length": max_length, "seed": seed}
    settings |= {"data": fingerprint_of(parts), "versions": _versions()}
    folder = Path(out)
    if (finished := finished_report(folder, settings)) is not None:
        say(f"{folder.name} holds this very training already, finished")
        return finished

    on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    base.to(on)
    say("a linear head on the frozen encoder, to compare with")
    frozen = frozen_head(base, data, seed=seed).argmax(dim=1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        add_lora(base, ENCODER_LAYERS, r=r, alpha=float(alpha), modules_to_save="classifier")
    begin(folder, settings)  # only now, when nothing in the settings or the data can be refused any more
    step = "training goes on" if (folder / CHECKPOINT).exists() else "training begins"
    say(f"{step}: LoRA of rank {r} beside {len(lora_layers(base))} matrices")
    took = train(
        base,
        data["train"],
        validation=data["validation"],
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        checkpoint=folder / CHECKPOINT,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )
    tuned = logits_of(base, data["test"]).argmax(dim=1)
    save_adapter(base, folder)
    report = {
        "labels": list(names),
        "settings": settings,
        "data": {"notes": notes, "classes": _classes(parts)},
        "trained parameters": took.trained_parameters,
        "total parameters": took.total_parameters,
        "validation": [evaluation.accuracy for evaluation in took.evaluations],
        "test": judge(data["train"]["labels"], data["test"]["labels"], frozen, tuned, names),
        "files": {p.name: p.stat().st_size for p in sorted(folder.glob("adapter_*"))},
        "run": {"seconds": round(took.seconds, 1), "device": on.type, "date": datetime.date.today().isoformat()},
    }
    finish(folder, report)
    return report


def encode(examples: Examples, tokenizer: Any, names: tuple[str, ...], max_length: int) -> dict[str, Tensor]:
    """Texts and labels as tensors for `train`, a label as its place in `names`."""
    data = encode_texts(examples.texts, tokenizer, max_length)
    return data | {"labels": torch.tensor([names.index(label) for label in examples.labels])}


def encode_texts(texts: tuple[str, ...] | list[str], tokenizer: Any, max_length: int) -> dict[str, Tensor]:
    """ "input_ids" and "attention_mask", both of shape (n, longest), cut at `max_length` tokens."""
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, padding=True, return_tensors="pt")
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def base_fingerprint(model: Any) -> str:
    """A short hash of the pretrained encoder: an adapter fits the base that it was trained on, and no other."""
    return fingerprint(model.encoder.state_dict())


def fingerprint_of(parts: Mapping[str, Examples]) -> str:
    """A short hash of all texts and labels and where they stand. The order of the file is not in it."""
    content = {name: [part.texts, part.labels] for name, part in parts.items()}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _parts(examples: Examples, test: Examples | None) -> tuple[dict[str, Examples], list[str]]:
    cleaned, notes = clean_examples(examples)
    if test is None:
        return split_examples(cleaned), notes
    tested, more = clean_examples(test, least=1)
    check_test_part(cleaned, tested)
    parts = split_examples(cleaned, {"train": 1 - SHARES["validation"], "validation": SHARES["validation"]})
    rows = sorted(range(len(tested)), key=lambda row: tested.texts[row])
    return parts | {"test": tested.take(rows)}, notes + [f"test file: {note}" for note in more]


def _longer(parts: Mapping[str, Examples], tokenizer: Any, max_length: int) -> int:
    texts = [text for part in parts.values() for text in part.texts]
    # one token more than is read says enough, and a text of a million words costs no more than that
    found = tokenizer(texts, truncation=True, max_length=max_length + 1)["input_ids"]
    return sum(len(ids) > max_length for ids in found)


def _versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))


def _classes(parts: Mapping[str, Examples]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(Counter(part.labels).items())) for name, part in parts.items()}
