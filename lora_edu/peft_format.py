"""`adapter_model.safetensors`: how peft names and shapes each layer's tensors, and checking a file against a model.

    layer            A                   B                    m (DoRA)                 b, d (VeRA)
    linear, Conv2d   lora_A.weight       lora_B.weight        lora_magnitude_vector    vera_lambda_b, vera_lambda_d
    embedding        lora_embedding_A    lora_embedding_B     lora_magnitude_vector    –

A convolution's A is stored as (r, channels, height, width), its B as (out, r, 1, 1), its m as (1, out, 1, 1). VeRA's
shared pair stands once, as vera_A and vera_B. Every fault is one `AdapterFileError`; nothing is changed here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .checkpoints import fingerprint
from .inject import lora_layers
from .layers import LoRALayer
from .peft_config import CONFIG_NAME, AdapterFileError
from .targets import adapter_for, list_targets
from .variants import Variant

WEIGHTS_NAME = "adapter_model.safetensors"
PREFIX = "base_model.model."
SHARED = {"A": "base_model.vera_A", "B": "base_model.vera_B"}
CHECKSUM = "lora_edu_checksum"  # in the file's metadata; peft ignores it

Factors = dict[str, dict[str, Tensor]]  # layer → our name → tensor


def file_names(base: nn.Module, variant: Variant) -> dict[str, str]:
    """Our name → peft's, for the tensors beside one layer that are in a file."""
    if variant.name == "vera":
        return {"b": "vera_lambda_b", "d": "vera_lambda_d"}
    names = {"A": "lora_A.weight", "B": "lora_B.weight"}
    if isinstance(base, nn.Embedding):
        names = {"A": "lora_embedding_A", "B": "lora_embedding_B"}
    return names | ({"m": "lora_magnitude_vector"} if "m" in variant.trained() else {})


def file_shapes(base: nn.Module, r: int) -> dict[str, tuple[int, ...]]:
    """Our name → the shape in the file."""
    matrices = matrix_shapes(base, r)
    if isinstance(base, nn.Conv2d):
        out, weight = base.out_channels, base.weight
        return matrices | {"A": (r, *weight.shape[1:]), "B": (out, r, 1, 1), "m": (1, out, 1, 1)}
    return matrices


def matrix_shapes(base: nn.Module, r: int) -> dict[str, tuple[int, ...]]:
    """Our name → the shape that we give it."""
    adapter = adapter_for(base)
    assert adapter is not None
    into, out = adapter.sizes(base)
    return {"A": (r, into), "B": (out, r), "m": (out,), "b": (out,), "d": (r,)}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        pickled = " (adapter_model.bin is a pickle, which can run code when it is read: it is never opened)"
        raise FileNotFoundError(
            f"no {WEIGHTS_NAME} in {folder}{pickled if (folder / 'adapter_model.bin').exists() else ''}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except (SafetensorError, ValueError, OSError, KeyError, OverflowError) as error:
        raise AdapterFileError(f"{path} is not a whole safetensors file: {error}") from None
    for key, tensor in tensors.items():
        if not key.startswith(PREFIX) and key not in SHARED.values():
            raise AdapterFileError(f"{path}: tensor {key!r} does not begin with {PREFIX!r}")
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise AdapterFileError(f"{path}: tensor {key!r} has entries that are not finite, or too large for float32")
    if CHECKSUM in metadata and metadata[CHECKSUM] != fingerprint(tensors):
        raise AdapterFileError(f"{path} is damaged: its tensors are not those that were saved (the checksum differs)")
    return {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}


def sort_tensors(model: nn.Module, tensors: dict[str, Tensor], variant: Variant) -> tuple[Factors, dict[str, Tensor]]:
    """The tensors of each layer under our names, and those of modules that were trained whole."""
    bases = nn.Linear(1, 1), nn.Embedding(1, 1)
    endings = {ending: name for base in bases for name, ending in file_names(base, variant).items()}
    factors: Factors = {}
    others: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        ending = next((ending for ending in endings if key.endswith(f".{ending}")), None)
        if ending is not None:
            factors.setdefault(key.removesuffix(f".{ending}"), {})[endings[ending]] = tensor
        elif key not in SHARED.values():
            others[key] = tensor
    if not factors:
        raise AdapterFileError(f"{WEIGHTS_NAME} holds no {' and '.join(_label(e) for e in list(endings)[:2])} tensors")
    for name, own in factors.items():
        # peft saves the weight of an adapted embedding along; it must be that of the model
        weight = others.pop(f"{name}.base_layer.weight", None)
        if weight is not None and not _is_base_weight(model, name, weight):
            raise AdapterFileError(f"{WEIGHTS_NAME} has another base weight of {name!r} than the model")
        if set(own) in ({"A"}, {"B"}):
            raise AdapterFileError(f"{WEIGHTS_NAME}: layer {name!r} has lora_{next(iter(own))} but not its partner")
    return factors, others


def check_factors(
    model: nn.Module,
    config: dict[str, Any],
    factors: Factors,
    choices: dict[str, tuple[int, float, float]],
    variant: Variant,
) -> None:
    """Raise AdapterFileError unless all tensors fit a layer, none is missing, and no layer is left without its own."""
    present = lora_layers(model)
    available = set(present) | set(list_targets(model, every=True))
    for name, own in factors.items():
        if name not in available:
            raise AdapterFileError(
                f"the adapter has layer {name!r}, which the model has not, or which LoRA cannot adapt"
            )
        base = present[name].base if name in present else model.get_submodule(name)
        shapes = file_shapes(base, choices[name][0])
        for ours, theirs in file_names(base, variant).items():
            if ours not in own:
                raise AdapterFileError(f"{WEIGHTS_NAME}: layer {name!r} has no {theirs}")
            shape, label = tuple(own[ours].shape), _label(theirs)
            if shape != shapes[ours]:
                raise AdapterFileError(f"{label} of {name!r} has shape {shape}, but {shapes[ours]} is needed")
            if not own[ours].is_floating_point():
                raise AdapterFileError(f"{label} of {name!r} has dtype {own[ours].dtype}, not a floating-point one")
    listed = config.get("target_modules")
    narrowed = any(config.get(key) for key in ("exclude_modules", "layers_to_transform", "modules_to_save"))
    if isinstance(listed, list) and not narrowed:
        wanted = {n for n in available for target in listed if n == target or n.endswith(f".{target}")}
        missing = sorted(wanted - set(factors))
        if missing:
            raise AdapterFileError(f"{CONFIG_NAME} adapts {missing[0]!r}, but {WEIGHTS_NAME} has no factors for it")


def check_shared(
    model: nn.Module, config: dict[str, Any], tensors: dict[str, Tensor], layers: Iterable[str]
) -> dict[str, Tensor]:
    """VeRA's pair A, B; empty if the file has none. Raise AdapterFileError unless it is large enough for all layers."""
    shared = {ours: tensors[theirs] for ours, theirs in SHARED.items() if theirs in tensors}
    if bool(shared) != (config["peft_type"] == "VERA" and config.get("save_projection", True)) or len(shared) == 1:
        raise AdapterFileError(f"{WEIGHTS_NAME} has {len(shared)} of vera_A and vera_B; {CONFIG_NAME} says otherwise")
    for ours, tensor in shared.items():
        for name in layers:
            module = model.get_submodule(name)
            needed = matrix_shapes(module.base if isinstance(module, LoRALayer) else module, config["r"])[ours]
            if tensor.ndim != len(needed) or any(size < n for size, n in zip(tensor.shape, needed, strict=True)):
                raise AdapterFileError(f"vera_{ours} has shape {tuple(tensor.shape)}, but {name!r} needs {needed}")
    return shared


def _label(name: str) -> str:
    return name.removesuffix(".weight")


def _is_base_weight(model: nn.Module, name: str, weight: Tensor) -> bool:
    state = model.state_dict()  # which has W₀ in a layer that is merged
    own = state.get(f"{name}.base.weight", state.get(f"{name}.weight"))
    return own is not None and own.shape == weight.shape and bool((own.cpu() == weight.to(own.dtype)).all())
