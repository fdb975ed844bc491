"""Merging, saving and loading against peft's, on MiniLM with LoRA in 36 matrices.

Both sides write the same tensors and read the same folder. Beyond that they differ, and what each does by itself is
timed with it: `lora_edu` writes a checksum, renames the files into place, and checks all it reads; peft writes a model
card beside the adapter, so there is a row without it as well. `lora_edu` keeps W₀ for `unmerge`, peft subtracts ΔW.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from bench_lora import adapted
from bench_timing import Row, Side, compare, heading
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

from lora_edu import load_adapter, load_text_classifier, merge, save_adapter, unmerge

WEIGHTS = "adapter_model.safetensors"


def against_peft(seconds: float) -> list[Row]:
    base, _ = load_text_classifier()

    def plain() -> nn.Module:
        return copy.deepcopy(base)

    ours, theirs = (adapted(side, plain()) for side in ("lora_edu", "peft"))
    heading("LoRA, r = 8, on 36 matrices of MiniLM", "lora_edu", "peft")
    rows = [
        compare(
            "merge",
            Side(lambda _: merge(ours), lambda: unmerge(ours)),
            Side(lambda _: theirs.merge_adapter(), lambda: quietly(theirs.unmerge_adapter)),
            seconds,
        ),
        compare(
            "unmerge",
            Side(lambda _: unmerge(ours), lambda: merge(ours)),
            Side(lambda _: theirs.unmerge_adapter(), lambda: quietly(theirs.merge_adapter)),
            seconds,
        ),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        own, other = Path(scratch, "lora_edu"), Path(scratch, "peft")
        saved = Side(lambda _: save_adapter(ours, own))
        rows.append(compare("save", saved, Side(lambda _: theirs.save_pretrained(other)), seconds))
        rows.append(compare("save, no model card", saved, Side(lambda _: save_bare(theirs, other)), seconds))
        check_same_tensors(own, other)
        rows.append(
            compare(
                "load into the plain model",
                Side(lambda model: load_adapter(model, own), plain),
                Side(lambda model: PeftModel.from_pretrained(model, own, is_trainable=True), plain),
                seconds,
            )
        )
        rows.append(
            compare(
                "load into layers that are there",
                Side(lambda _: load_adapter(ours, own)),
                Side(lambda _: theirs.load_adapter(own, "default", is_trainable=True)),
                seconds,
            )
        )
    return rows


def quietly(change: Callable[[], None]) -> None:
    """peft warns when there is nothing to merge or unmerge, as at the beginning."""
    with warnings.catch_warnings(action="ignore"):
        change()


def save_bare(model: nn.Module, folder: Path) -> None:
    """What `save_pretrained` does without its model card: the tensors and the config."""
    folder.mkdir(exist_ok=True)
    save_file(get_peft_model_state_dict(model), folder / WEIGHTS, metadata={"format": "pt"})
    model.peft_config["default"].save_pretrained(folder)


def check_same_tensors(own: Path, other: Path) -> None:
    """The values differ: both draw A by the same rule, but not from the same place in the generator's stream."""
    ours, theirs = (load_file(folder / WEIGHTS) for folder in (own, other))
    assert {k: (t.shape, t.dtype) for k, t in ours.items()} == {k: (t.shape, t.dtype) for k, t in theirs.items()}
