"""LoRA and its variants against peft's, on MiniLM: forward, training step, injection, and the peak of memory.

r = 8, α = 16, no dropout, on all 36 matrices of the encoder, in float32. VeRA has r = 256, as by default in peft.
LoRA-FA is in peft an optimizer that also corrects the gradient of B; here its A is frozen, and AdamW is on both sides.
"""

import copy
import json
import sys

import torch
from bench_timing import Row, Side, compare, compare_bytes, heading, row
from peft import LoraConfig, VeraConfig, get_peft_model
from torch import nn

from lora_edu import add_lora, load_text_classifier, merge, quantize
from lora_edu.memory import PeakMemory

TARGETS = ["query", "key", "value", "dense"]
R, ALPHA, VERA_R = 8, 16, 256
SETTINGS: dict[str, dict[str, object]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "lora-fa": {},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
}
BATCHES = (1, 32), (16, 48)


def adapted(side: str, base: nn.Module, variant: str = "lora") -> nn.Module:
    """The same adapter by `lora_edu` or by peft. `base` is changed in place."""
    torch.manual_seed(0)
    if side == "lora_edu":
        r, alpha = (VERA_R, VERA_R) if variant == "vera" else (R, ALPHA)
        return add_lora(base, TARGETS, r=r, alpha=alpha, variant=variant)
    if variant == "vera":
        return get_peft_model(base, VeraConfig(r=VERA_R, target_modules=TARGETS))
    config = LoraConfig(r=R, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0, **SETTINGS[variant])
    model = get_peft_model(base, config)
    for name, parameter in model.named_parameters():
        if variant == "lora-fa" and "lora_A" in name:
            parameter.requires_grad_(False)
    return model


def batch(size: int, length: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (size, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def forward(model: nn.Module, *inputs: torch.Tensor, **named: torch.Tensor) -> Side:
    model.eval()

    def work(_: object) -> None:
        with torch.no_grad():
            model(*inputs, **named)

    return Side(work)


def training_step(model: nn.Module, *inputs: torch.Tensor, **named: torch.Tensor) -> Side:
    """Forward, cross entropy with the first class, backward, AdamW."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def work(_: object) -> None:
        optimizer.zero_grad()
        logits = model(*inputs, **named).flatten(0, -2)
        nn.functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long)).backward()
        optimizer.step()

    return Side(work)


def against_peft(variant: str, seconds: float) -> list[Row]:
    """Injection, forward and training step of one variant."""
    base, _ = load_text_classifier()
    sides = "lora_edu", "peft"
    heading(f"{variant}, r = {VERA_R if variant == 'vera' else R}, on 36 matrices of MiniLM", *sides)
    work = [Side(lambda m, side=side: adapted(side, m, variant), lambda: copy.deepcopy(base)) for side in sides]
    rows = [compare(f"{variant}: injection", *work, seconds)]
    models = [adapted(side, copy.deepcopy(base), variant) for side in sides]
    for size, length in BATCHES:
        steps = [forward(model, **batch(size, length)) for model in models]
        rows.append(compare(f"{variant}: forward, batch {size} × {length}", *steps, seconds))
    steps = [training_step(model, **batch(*BATCHES[-1])) for model in models]
    return [*rows, compare(f"{variant}: training step, batch 16 × 48", *steps, seconds)]


def merged_against_plain(seconds: float) -> list[Row]:
    base, _ = load_text_classifier()
    merged = merge(adapted("lora_edu", copy.deepcopy(base)))
    heading("a merged model against the one it came from", "merged", "pretrained")
    rows = []
    for size, length in BATCHES:
        steps = [forward(model, **batch(size, length)) for model in (merged, base)]
        rows.append(compare(f"merged: forward, batch {size} × {length}", *steps, seconds, against="pretrained"))
    return rows


def memory() -> list[Row]:
    """peft's four bits need bitsandbytes and a GPU, so QLoRA here is compared with peft's LoRA on the whole weights."""
    heading("memory", "lora_edu", "peft")
    held = [[bytes_held(side) / 1e6] * 2 for side in ("qlora", "peft")]
    return [
        compare_bytes("lora: peak of training above the model", __file__, "lora_edu", "peft"),
        compare_bytes("qlora: peak of training above the model", __file__, "qlora", "peft"),
        row("qlora: weights of the adapted layers", *held, "MB", "peft"),
    ]


def for_memory(side: str) -> nn.Module:
    model, _ = load_text_classifier()
    if side == "qlora":
        model = quantize(model, TARGETS)
    return adapted("peft" if side == "peft" else "lora_edu", model)


def bytes_held(side: str) -> int:
    model = for_memory(side)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return sum(tensor.nbytes for name, tensor in tensors if any(f".{target}." in name for target in TARGETS))


def peak_of_training(side: str) -> int:
    """Bytes by which the resident size of this process peaks above its size before, over five training steps."""
    step = training_step(for_memory(side), **batch(16, 48))
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        for _ in range(5):
            step.seconds()
    return peak.bytes - before.bytes


if __name__ == "__main__":
    print(json.dumps(peak_of_training(sys.argv[1])))
