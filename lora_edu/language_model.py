"""The language model of the book, loaded with no network: SmolLM2-135M-Instruct, a real model of Llama's kind.

Next: `chat`, which turns questions and answers into what it trains on.
"""

from typing import Any

import torch

from .assets import find
from .models import without_progress_bar


def load_language_model(dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct (30 layers, width 576, 134.5 million parameters) and its tokenizer with a chat template.

    Token ids (batch, length) ↦ logits (batch, length, 49,152). The weights were packed in four bits when they were
    published in a package, and are unpacked here (see `gguf_model`). The model is in evaluation mode, on the CPU.

    Raises FileNotFoundError with the command to run if the weights are not fetched yet, TypeError for a `dtype` that
    is no floating-point type.
    """
    if not dtype.is_floating_point:
        raise TypeError(f"dtype={dtype} is no floating-point type; take torch.float32, torch.bfloat16 or torch.float16")
    folder = find("smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer  # here, because transformers takes seconds to load

    with without_progress_bar():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    model.train(False)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)
