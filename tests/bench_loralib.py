"""LoRA against loralib, the first implementation (Hu et al. 2021): all of MiniLM, and one layer with q, k and v fused.

loralib merges when the model is switched to evaluation and unmerges when it is switched back to training; to compare
an unmerged forward pass, that is turned off.
"""

import copy
from typing import cast

import loralib
import torch
from bench_lora import ALPHA, BATCHES, TARGETS, R, adapted, batch, forward, training_step
from bench_timing import Row, Side, compare, heading
from torch import nn

from lora_edu import LoRALayer, LoRAMergedLinear, load_text_classifier, merge, unmerge

PARTS = [True, False, True]  # q and v, as in the paper


def with_loralib(base: nn.Module, merges: bool = False) -> nn.Module:
    """`base` with a `loralib.Linear` in the place of each target."""
    torch.manual_seed(0)
    for name, layer in list(base.named_modules()):
        parent, _, leaf = name.rpartition(".")
        if leaf in TARGETS and isinstance(layer, nn.Linear):
            new = loralib.Linear(layer.in_features, layer.out_features, r=R, lora_alpha=ALPHA, merge_weights=merges)
            new.load_state_dict(layer.state_dict(), strict=False)
            setattr(base.get_submodule(parent), leaf, new)
    loralib.mark_only_lora_as_trainable(base)
    return base


def fused(base: nn.Module) -> nn.Linear:
    """q, k and v of MiniLM's first layer as one matrix (3 · 384, 384)."""
    attention = base.get_submodule("encoder.encoder.layer.0.attention.self")
    parts = [cast(nn.Linear, attention.get_submodule(name)) for name in ("query", "key", "value")]
    layer = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
    layer.weight.data = torch.cat([part.weight.data for part in parts])
    layer.bias.data = torch.cat([part.bias.data for part in parts])
    return layer


def fused_with_loralib(layer: nn.Linear, merges: bool = False) -> nn.Module:
    sizes, settings = (layer.in_features, layer.out_features), {"r": R, "lora_alpha": ALPHA, "merge_weights": merges}
    new = loralib.MergedLinear(*sizes, enable_lora=PARTS, **settings)
    new.load_state_dict(layer.state_dict(), strict=False)
    loralib.mark_only_lora_as_trainable(new)
    return new


def against_loralib(seconds: float) -> list[Row]:
    base, _ = load_text_classifier()
    heading("LoRA, r = 8, on 36 matrices of MiniLM", "lora_edu", "loralib")
    models = adapted("lora_edu", copy.deepcopy(base)), with_loralib(copy.deepcopy(base))
    rows = []
    for size, length in BATCHES:
        steps = [forward(model, **batch(size, length)) for model in models]
        rows.append(compare(f"forward, batch {size} × {length}", *steps, seconds, against="loralib"))
    steps = [training_step(model, **batch(*BATCHES[-1])) for model in models]
    rows.append(compare("training step, batch 16 × 48", *steps, seconds, against="loralib"))
    rows += merging(models[0], with_loralib(copy.deepcopy(base), merges=True), "", seconds)

    heading("r = 8 on q and v of a fused q, k, v, (1152, 384)", "lora_edu", "loralib")
    layer = fused(base)
    torch.manual_seed(0)
    models = LoRAMergedLinear(copy.deepcopy(layer), R, ALPHA, parts=PARTS), fused_with_loralib(layer)
    for size, length in BATCHES:
        x = torch.randn(size, length, layer.in_features)
        rows.append(
            compare(
                f"fused: forward, batch {size} × {length}", *(forward(m, x) for m in models), seconds, against="loralib"
            )
        )
    steps = [training_step(model, x) for model in models]
    rows.append(compare("fused: training step, batch 16 × 48", *steps, seconds, against="loralib"))
    return rows + merging(models[0], fused_with_loralib(layer, merges=True), "fused: ", seconds)


def merging(ours: nn.Module, theirs: nn.Module, prefix: str, seconds: float) -> list[Row]:
    """Both switches of loralib against `merge` with `eval`, and `unmerge` with `train`."""
    both = [
        ("merge and eval", (lambda _: merged(ours), lambda: trained(ours)), (False, True)),
        ("unmerge and train", (lambda _: trained(ours), lambda: merged(ours)), (True, False)),
    ]
    return [
        compare(
            prefix + name,
            Side(*own),
            Side(lambda _, mode=mode: theirs.train(mode), lambda before=before: theirs.train(before)),
            seconds,
            against="loralib",
        )
        for name, own, (mode, before) in both
    ]


def merged(model: nn.Module) -> nn.Module:
    model.merge() if isinstance(model, LoRALayer) else merge(model)
    return model.eval()


def trained(model: nn.Module) -> nn.Module:
    model.unmerge() if isinstance(model, LoRALayer) else unmerge(model)
    return model.train()
