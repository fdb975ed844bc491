"""What `train` asks of a model and its data before the first step, and after the first backward pass."""

from collections.abc import Mapping

from torch import Tensor, nn

from .added import added_layers
from .batches import check_data
from .inject import lora_layers


def check_model_and_data(
    model: nn.Module,
    trained: Mapping[str, nn.Parameter],
    data: Mapping[str, Tensor],
    validation: Mapping[str, Tensor] | None,
) -> None:
    """Raise ValueError if nothing trains, a LoRA layer is merged, or the data is empty or uneven."""
    if not trained:
        raise ValueError(
            "no parameter of the model requires a gradient: call add_lora, or set requires_grad on what should train"
        )
    merged = [name for name, layer in lora_layers(model).items() if layer.merged]
    if merged:
        raise ValueError(
            f"{len(merged)} LoRA layers are merged, {merged[0]!r} first, so they would not train: unmerge(model) first"
        )
    check_data("data", data)
    if validation is not None:
        check_data("validation", validation)


def check_factors_get_gradients(model: nn.Module) -> None:
    """Raise RuntimeError if a LoRA factor, or what another method added, trains and has no gradient."""
    factors = {n: layer.named_parameters(recurse=False) for n, layer in lora_layers(model).items()}
    added = {n: module.own_parameters() for n, module in added_layers(model).items()}
    dead = [
        f"{name}.{own}"
        for name, parameters in (factors | added).items()
        for own, parameter in parameters
        if parameter.requires_grad and parameter.grad is None
    ]
    if dead:
        raise RuntimeError(
            f"{len(dead)} {'added parameters' if added else 'LoRA factors'} receive no gradient, {dead[0]!r} first: is "
            "the layer used in the forward pass, and does nothing (a no_grad block, re-entrant gradient checkpointing) "
            "cut it off?"
        )
