"""Adapter folders damaged in every way that Hypothesis thinks of: one clear error and the model as it was, or no harm.

500 damaged files in every run of the tests; `make fuzz` tries 10,000 others, or as many as LORA_EDU_FUZZ says.
"""

import json
import os
import struct

import pytest
import torch
from helpers import assert_unchanged, make, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layers_and_variants import IDS, TARGETS, Mixed, R, alpha_of, shaken
from safetensors.torch import load, save

from lora_edu import AdapterFileError, add_lora, load_adapter, lora_layers, remove_lora, save_adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
EXAMPLES = int(os.environ.get("LORA_EDU_FUZZ", "500"))
SAVED = ["lora", "rslora+dora", "pissa", "vera"]

scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 20), st.just(10**30), st.floats(), st.text(max_size=8)),
    *(st.sampled_from(["pissa", "olora", "LORA", "VERA", "score", "tokens", "(", ".*", "gaussian"]),),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=6), scalars, max_size=2))
dtypes = st.sampled_from([torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """variant → file name → bytes."""
    folders = {}
    for variant in SAVED:
        model = add_lora(make(Mixed), TARGETS[:3], R, alpha_of(variant), variant=variant, modules_to_save="score")
        folder = save_adapter(shaken(model), tmp_path_factory.mktemp("pristine"))
        folders[variant] = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    return folders


@pytest.fixture(scope="module")
def model():
    return make(Mixed)


def damage_bytes(data, content):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        if not damaged:
            break
        position = data.draw(st.integers(0, len(damaged) - 1))
        how = data.draw(st.sampled_from(["flip", "set", "insert", "delete", "cut", "repeat"]))
        if how == "flip":
            damaged[position] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "set":
            damaged[position] = data.draw(st.integers(0, 255))
        elif how == "insert":
            damaged[position:position] = data.draw(st.binary(min_size=1, max_size=3))
        elif how == "delete":
            del damaged[position : position + data.draw(st.integers(1, 9))]
        elif how == "repeat":
            damaged[position:position] = damaged[position : position + 16]
        else:
            del damaged[position:]
    return bytes(damaged)


def damage_config(data, content):
    config = json.loads(content)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.one_of(st.sampled_from([*sorted(config), "peft_type", "r"]), st.text(max_size=6)))
        if data.draw(st.integers(0, 4)):
            config[key] = data.draw(values)
        else:
            config.pop(key, None)
    return json.dumps(config).encode()


def damage_header(data, content):
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(header)))
    if name == "__metadata__" or not data.draw(st.integers(0, 4)):
        header[data.draw(st.text(max_size=6))] = data.draw(st.one_of(values, st.just(header[name])))
    else:
        header[name][data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = data.draw(
            st.one_of(st.sampled_from(["F32", "F64", "BF16", "I8", "X9"]), st.lists(st.integers(-1, 200), max_size=4))
        )
    text = json.dumps(header).encode()
    return (
        struct.pack("<Q", data.draw(st.sampled_from([len(text), len(text), 2**63, 0]))) + text + content[8 + length :]
    )


def damage_tensors(data, content):
    """A whole safetensors file, without a checksum, whose tensors are others."""
    tensors = load(content)
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(sorted(tensors)))
        how = data.draw(st.sampled_from(["drop", "rename", "dtype", "shape", "value", "empty", "new"]))
        if how in ("drop", "rename") and len(tensors) > 1:
            tensor = tensors.pop(name)
            if how == "rename":
                tensors[data.draw(st.sampled_from([name[:-1], name.replace("lora", "vera"), "x." + name, "x"]))] = (
                    tensor
                )
        elif how == "dtype":
            tensors[name] = tensors[name].to(data.draw(dtypes))
        elif how == "shape":
            tensors[name] = tensors[name].flatten()[data.draw(st.integers(0, 3)) :].contiguous()
        elif how == "value" and tensors[name].numel():
            tensors[name] = tensors[name].clone().float()
            tensors[name].view(-1)[0] = data.draw(st.sampled_from([torch.nan, torch.inf, 1e38, 0.0]))
        elif how == "empty":
            tensors[name] = torch.zeros(0)
        else:
            tensors["base_model.model." + data.draw(st.text(max_size=6)) + ".lora_A.weight"] = torch.zeros(2, 2)
    return save(tensors, {"format": "pt"})


WAYS = {
    "config, bytes": (CONFIG, damage_bytes),
    "config, settings": (CONFIG, damage_config),
    "weights, bytes": (WEIGHTS, damage_bytes),
    "weights, header": (WEIGHTS, damage_header),
    "weights, tensors": (WEIGHTS, damage_tensors),
}


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 500,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_random_damage_is_refused_or_harmless(pristine, model, tmp_path, data):
    """Whatever happens to the two files: finite values, or one of two errors and the model as it was."""
    variant = data.draw(st.sampled_from(SAVED))
    name, damage = WAYS[data.draw(st.sampled_from(sorted(WAYS)))]
    files = {**pristine[variant], name: damage(data, pristine[variant][name])}
    for each, content in files.items():
        (tmp_path / each).write_bytes(content)
    before = snapshot(model)
    try:
        load_adapter(model, tmp_path)
    except (AdapterFileError, FileNotFoundError) as error:
        assert str(error)
        assert_unchanged(model, before)
    else:
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        assert lora_layers(model) and model(IDS).shape == (3, 3)
        remove_lora(model)
        model.load_state_dict(before["state"])  # a head that was trained whole stays
        assert_unchanged(model, before)
    assert {each: (tmp_path / each).read_bytes() for each in files} == files
