"""Which pretrained encoder to adapt: the one that the book fetches, or any that `transformers` reads from a folder."""

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn

from .models import TextClassifier, load_text_classifier, without_progress_bar

PACKAGED = "minilm"


class ModelError(ValueError):
    """A base model that cannot be used: the message says which and why."""


def load_base(name: str, classes: int, seed: int = 0) -> tuple[TextClassifier, Any]:
    """An encoder with a fresh head, and its tokenizer: "minilm", a folder, or a name at a hub.

    A folder holds what `save_pretrained` writes: config.json, the weights as safetensors, and a tokenizer. No code
    that comes with a model is run, and nothing is unpickled. The head is drawn from `seed`. The model is in evaluation
    mode, on the CPU, in float32.

    Raises ModelError if there is no such model, it cannot be reached, or it is no encoder of text.
    """
    if name == PACKAGED:
        return load_text_classifier(classes, seed)
    folder = Path(name)
    if not folder.is_dir() and (folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise ModelError(f"model {name!r} is no folder here, nor {PACKAGED!r}, nor a name at a hub such as owner/model")
    if folder.is_dir():
        _check_folder(folder)
    offline = folder.is_dir() or not _hub_answers()
    # Imported here: transformers takes seconds to load, and most of the package does without it.
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with without_progress_bar():
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=offline)
            encoder = AutoModel.from_pretrained(name, use_safetensors=True, local_files_only=offline).float()
    except Exception as error:  # transformers raises many kinds, and so do the libraries below it
        where = "the folder" if folder.is_dir() else "the hub: is the name right, and the network there?"
        reason = " ".join(str(error).split()).partition(". ")[0][:160]
        raise ModelError(f"model {name!r} cannot be read from {where} ({type(error).__name__}: {reason})") from None
    finally:
        logging.set_verbosity(before)
    return _with_head(name, encoder, tokenizer, classes, seed), tokenizer


def longest_input(model: TextClassifier) -> int | None:
    """How many tokens the encoder can read, or None if its config sets no limit."""
    limit = getattr(model.encoder.config, "max_position_embeddings", None)
    # RoBERTa and its kin count positions from the padding's number on, and so have two more than can be used
    offset = 2 if getattr(model.encoder.config, "model_type", "") in ("roberta", "xlm-roberta", "camembert") else 0
    return None if limit is None or limit < 1 else int(limit) - offset


def _hub_answers() -> bool:
    """Whether the hub can be reached: asked once here, because the hub's own library asks for minutes."""
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if getproxies():
        return True  # the way leads through another machine, which only a real request can try
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=5):
            return True
    except OSError:
        return False


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"folder {folder.name!r} has no config.json: is it a model that save_pretrained wrote?")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(f"folder {folder.name!r} has no weights as .safetensors; other formats are not read")


def _with_head(name: str, encoder: Any, tokenizer: Any, classes: int, seed: int) -> TextClassifier:
    config = encoder.config
    width = getattr(config, "hidden_size", None) or getattr(config, "dim", None)
    if getattr(config, "is_encoder_decoder", False) or not isinstance(width, int):
        raise ModelError(f"model {name!r} is a {type(encoder).__name__}, not an encoder of text")
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of model {name!r} has no token for padding, as decoders often lack")
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.pooler = None  # for a task that is not ours: LoRA beside it would get no gradient
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return TextClassifier(encoder, width, classes).eval()
