"""Training on many processes equals training on one, survives kill -9, and moves the bytes that the formulas say.

Two gloo processes on the CPU, a tiny Llama, rows with different numbers of counted tokens, and a last batch that does
not divide. Each run of torchrun is ended after some minutes, whatever happens.
"""

import json
import math
import os
import shutil
import signal
import time

import pytest
import torch
import torch.distributed as dist
from helpers import assert_same_state
from safetensors.torch import save_file
from torch.distributed.fsdp import FSDPModule

from lora_edu import add_lora, load_adapter, lora_layers, train
from lora_edu.chat import next_token
from lora_edu.data_parallel import _shared_loss, train_on_many
from lora_edu.sharded_state import outline
from lora_edu.sizing import LLAMAS, gpus_needed, state_bytes, step_bytes
from lora_edu.torchrun import torchrun
from lora_edu.traffic import Traffic, ring_bytes

TRAINING = {"epochs": 2, "batch_size": 5, "lr": 1e-2, "seed": 0}
STEPS = 10
OPTIONS = ("--epochs", "2", "--batch-size", "5", "--lr", "1e-2", "--timeout", "30")
TOLERANCE = 2e-5  # of a loss near 4.6 after ten steps: the sums are taken in another order


def tiny_llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "vocab_size": 101}
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads)).eval()


def adapted():
    model = tiny_llama()
    torch.manual_seed(0)
    return add_lora(model, ["q_proj", "v_proj"], r=8, alpha=16)


def uneven_chats(n=21):
    """Rows of 6 to 12 tokens, of which the last 1 to 4 count: no two ranks count the same number."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 101, (n, 12), generator=generator)
    mask, labels = torch.ones_like(ids), torch.full_like(ids, -100)
    for row in range(n):
        length = 6 + int(torch.randint(0, 7, (1,), generator=generator))
        answer = 1 + int(torch.randint(0, 4, (1,), generator=generator))
        mask[row, length:] = 0
        labels[row, length - answer : length] = ids[row, length - answer : length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the model and the data, and what two processes made of them: by DDP, by FSDP, and by DDP killed."""
    path = tmp_path_factory.mktemp("many")
    tiny_llama().save_pretrained(path / "model")
    save_file(uneven_chats(), path / "chats.safetensors")
    return path


def run(folder, name, *options, **settings):
    arguments = ["-m", "lora_edu.distributed", folder / "chats.safetensors", folder / name, *OPTIONS]
    return torchrun(*arguments, "--model", folder / "model", *options, timeout=200, **settings)


@pytest.fixture(scope="module")
def ddp(folder):
    """The uninterrupted run by DDP; its checkpoint after four steps is kept beside it."""

    def keep(line):
        if line.startswith("step 5:"):  # that of step 4 or later is complete: it is replaced, never changed
            shutil.copy(folder / "ddp" / "checkpoint.pt", folder / "middle.pt")

    run(folder, "ddp", on_line=keep)
    return json.loads((folder / "ddp" / "report.json").read_text())


@pytest.fixture(scope="module")
def fsdp(folder):
    run(folder, "fsdp", "--method", "fsdp")
    return json.loads((folder / "fsdp" / "report.json").read_text())


@pytest.fixture(scope="module")
def single():
    model = adapted()
    report = train(model, uneven_chats(), objective=next_token, progress=False, **TRAINING)
    return model, report


@pytest.fixture
def alone():
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("method", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one(method, single, request):
    report = request.getfixturevalue(method)
    assert report["processes"] == 2
    assert len(report["losses"]) == STEPS
    assert report["losses"] == pytest.approx(single[1].losses, abs=TOLERANCE)


@pytest.mark.parametrize("method", ["ddp", "fsdp"])
def test_two_processes_save_the_adapter_of_one(method, single, folder, request):
    request.getfixturevalue(method)
    model = load_adapter(tiny_llama(), folder / method / "adapter")
    for name, layer in lora_layers(model).items():
        expected = lora_layers(single[0])[name]
        assert torch.allclose(layer.delta_weight(), expected.delta_weight(), atol=1e-4), name


def test_the_adapter_of_two_processes_loads_in_peft(folder, fsdp):
    peft = pytest.importorskip("peft")
    theirs = peft.PeftModel.from_pretrained(tiny_llama(), folder / "fsdp" / "adapter")
    ours = load_adapter(tiny_llama(), folder / "fsdp" / "adapter")
    ids = uneven_chats()["input_ids"]
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, ours(ids).logits, atol=1e-5)


def test_ddp_moves_the_gradients_of_what_trains_and_nothing_frozen(ddp):
    trained = sum(p.numel() for p in adapted().parameters() if p.requires_grad)
    assert ddp["sizes"]["all-reduce"] == 4 * trained + 16  # and the sum of losses with its weight, two float64
    assert sum(ddp["sizes"].values()) - ddp["sizes"]["all-reduce"] < 100  # buffers: the frequencies of positions
    assert ddp["held"]["gradients"] == 4 * trained
    assert ddp["held"]["optimizer"] == 8 * trained


def test_fsdp_moves_the_frozen_weights_twice_and_holds_half(ddp, fsdp):
    trained = sum(p.numel() for p in adapted().parameters() if p.requires_grad)
    weights = 4 * sum(p.numel() for p in adapted().parameters())
    blocks = 4 * sum(p.numel() for p in adapted().model.layers.parameters())
    # Layers are gathered for each pass; what is in none of them stays gathered in between. Parts are whole rows.
    assert fsdp["sizes"]["all-gather"] == pytest.approx(weights + blocks, rel=0.01)
    assert fsdp["sizes"]["reduce-scatter"] == 4 * trained
    assert fsdp["held"]["parameters"] == pytest.approx(ddp["held"]["parameters"] / 2, rel=0.01)
    assert fsdp["held"]["gradients"] == 2 * trained
    assert fsdp["held"]["optimizer"] == 4 * trained


def test_a_run_that_lost_a_process_to_kill_9_ends_as_if_it_had_not(folder, ddp):
    pids, killed = {}, []

    def kill_one(line):
        words = line.split()
        if line.startswith("process"):
            pids[int(words[1])] = int(words[-1])
        if line.startswith("step 3:") and not killed:
            killed.append(pids[1])
            os.kill(pids[1], signal.SIGKILL)

    run(folder, "killed", restarts=1, on_line=kill_one)
    report = json.loads((folder / "killed" / "report.json").read_text())
    assert killed
    assert 2 <= report["resumed_at"] < STEPS
    assert report["losses"] == ddp["losses"]  # bit for bit: with two processes a sum has one order
    file = "adapter/adapter_model.safetensors"
    assert (folder / "killed" / file).read_bytes() == (folder / "ddp" / file).read_bytes()
    assert not list((folder / "killed").rglob("*.partial"))


def test_a_checkpoint_of_two_processes_goes_on_in_one_and_sharded(folder, ddp, alone, tmp_path):
    for method in ("ddp", "fsdp"):
        path = shutil.copy(folder / "middle.pt", tmp_path / f"{method}.pt")
        model = adapted()
        report = train_on_many(model, uneven_chats(), method=method, objective=next_token, checkpoint=path, **TRAINING)
        assert isinstance(model, FSDPModule) == (method == "fsdp")
        assert report.resumed_at >= 4
        assert report.losses == pytest.approx(ddp["losses"], abs=TOLERANCE)


@pytest.mark.parametrize("method", ["ddp", "fsdp"])
def test_one_process_equals_train(method, single, alone):
    report = train_on_many(adapted(), uneven_chats(), method=method, objective=next_token, **TRAINING)
    assert report.losses == pytest.approx(single[1].losses, abs=TOLERANCE)


def test_dropout_repeats_after_a_resumption_without_a_stored_generator(alone, tmp_path):
    def model():
        torch.manual_seed(0)
        return add_lora(tiny_llama(), ["q_proj"], r=4, alpha=8, dropout=0.3)

    class StoppedError(Exception):
        pass

    def stop(step, loss):
        if step == 4:
            raise StoppedError

    settings = {"objective": next_token, "checkpoint_every": 3, **TRAINING}
    whole = train_on_many(model(), uneven_chats(), checkpoint=tmp_path / "whole.pt", **settings)
    with pytest.raises(StoppedError):
        train_on_many(model(), uneven_chats(), checkpoint=tmp_path / "parts.pt", on_step=stop, **settings)
    parts = train_on_many(model(), uneven_chats(), checkpoint=tmp_path / "parts.pt", **settings)
    assert parts.resumed_at == 3
    assert parts.losses == whole.losses


def test_a_checkpoint_of_another_training_and_a_damaged_one_are_refused(alone, tmp_path):
    path = tmp_path / "c.pt"
    settings = {"objective": next_token, "checkpoint": path, **TRAINING}
    train_on_many(adapted(), uneven_chats(), **settings)
    with pytest.raises(ValueError, match=r"lr is 0\.5 but was 0\.01"):
        train_on_many(adapted(), uneven_chats(), **settings | {"lr": 0.5})
    with pytest.raises(ValueError, match="data is"):
        train_on_many(adapted(), uneven_chats(20), **settings)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="damaged"):
        train_on_many(adapted(), uneven_chats(), **settings)


def test_what_cannot_train_is_refused(alone):
    model = adapted()
    with pytest.raises(ValueError, match="'zero' is none of ddp, fsdp"):
        train_on_many(model, uneven_chats(), method="zero", objective=next_token)
    with pytest.raises(ValueError, match="call add_lora first"):
        train_on_many(tiny_llama().requires_grad_(False), uneven_chats(), objective=next_token)
    with pytest.raises(FloatingPointError, match="at step 0"):
        broken = adapted()
        with torch.no_grad():
            next(iter(lora_layers(broken).values())).A.fill_(math.nan)
        train_on_many(broken, uneven_chats(), objective=next_token)


def test_a_process_with_nothing_to_count_says_so(alone):
    data = {**uneven_chats(5), "labels": torch.full((5, 12), -100)}
    with pytest.raises(ValueError, match="nothing is counted in the 5 rows of process 0"):
        _shared_loss(adapted(), next_token, data, torch.device("cpu"))


def test_an_outline_has_names_and_shapes_but_no_memory():
    model = adapted()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    empty = outline(model)
    assert all(p.is_meta for p in empty.parameters())
    assert [(n, p.shape, p.requires_grad) for n, p in empty.named_parameters()] == [
        (n, p.shape, p.requires_grad) for n, p in model.named_parameters()
    ]
    assert list(lora_layers(empty)) == list(lora_layers(model))
    assert_same_state(dict(model.state_dict()), before)


def test_traffic_counts_the_whole_tensor_of_each_collective(alone):
    whole, part = torch.ones(6), torch.ones(6, dtype=torch.bfloat16)
    with Traffic() as traffic:
        dist.all_reduce(whole)
        dist.broadcast(part, src=0)
        dist.all_gather_into_tensor(torch.empty(6), whole)
        dist.reduce_scatter_tensor(torch.empty(6), whole)
        whole.add(1)
    assert traffic.sizes == {"all-reduce": 24, "broadcast": 12, "all-gather": 24, "reduce-scatter": 24}
    assert set(traffic.calls.values()) == {1}
    assert traffic.sent(4)["all-reduce"] == 36


def test_a_ring_sends_nothing_alone_and_at_most_twice_the_tensor():
    assert ring_bytes("all-reduce", 100, 1) == 0
    assert ring_bytes("all-reduce", 100, 2) == 100
    assert ring_bytes("all-gather", 100, 4) == 75
    assert ring_bytes("all-reduce", 100, 10**6) < 200
    with pytest.raises(ValueError, match="'gossip' is none of"):
        ring_bytes("gossip", 100, 2)
    with pytest.raises(ValueError, match="processes=0"):
        ring_bytes("all-reduce", 100, 0)


def test_who_comes_first_after_a_restart_waits_for_the_others_and_calls_no_dead_process(tmp_path):
    """With PyTorch 2.13 alone, rank 1 finds rank 0's old address in the store, and is refused."""
    script = tmp_path / "late.py"
    script.write_text(
        "import os, time\n"
        "import torch.distributed as dist\n"
        "from lora_edu.distributed import join\n"
        "attempt, rank = int(os.environ['TORCHELASTIC_RESTART_COUNT']), int(os.environ['RANK'])\n"
        "time.sleep(3 if attempt and rank == 0 else 0)\n"
        "join('gloo', 60)\n"
        "dist.barrier()\n"
        "os.write(1, b'attempt %d\\n' % attempt)\n"
        "os._exit(0 if attempt else rank)\n"
    )
    lines = torchrun(script, restarts=1, timeout=200)
    assert lines.count("attempt 1") == 2


def test_torchrun_leaves_no_process_when_its_watcher_fails(tmp_path):
    script = tmp_path / "sleep.py"
    script.write_text("import os, time\nos.write(1, b'id %d\\n' % os.getpid())\ntime.sleep(600)\n")
    pids = []

    def watch(line):
        pids.append(int(line.split()[1]))
        if len(pids) == 2:
            raise InterruptedError("seen enough")

    with pytest.raises(InterruptedError, match="seen enough"):
        torchrun(script, timeout=200, on_line=watch)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_torchrun_ends_what_takes_too_long(tmp_path):
    script = tmp_path / "sleep.py"
    script.write_text("import time\ntime.sleep(600)\n")
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="longer than 2 seconds"):
        torchrun(script, timeout=2)
    assert time.monotonic() - started < 60


def test_torchrun_tells_why_a_run_failed(tmp_path):
    script = tmp_path / "fail.py"
    script.write_text("raise SystemExit('no such luck')\n")
    with pytest.raises(RuntimeError, match="no such luck"):
        torchrun(script, processes=1, timeout=60)


def test_the_published_shapes_have_their_published_sizes():
    counts = {name: shape.parameters for name, shape in LLAMAS.items()}
    assert counts == {"7B": 6_738_415_616, "70B": 68_976_648_192, "405B": 405_853_388_800}


def test_a_shape_counts_as_transformers_does():
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LLAMAS["70B"]
    config = LlamaConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.hidden,
        vocab_size=shape.vocabulary,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    add_lora(model, r".*_proj", r=16, alpha=16)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == shape.adapter(16)


def test_sizes_on_paper():
    seven = LLAMAS["7B"]
    assert state_bytes(seven, "full") == 16 * seven.parameters
    assert state_bytes(seven, "LoRA") == 2 * seven.parameters + 16 * seven.adapter(16)
    assert state_bytes(seven, "QLoRA") < 0.35 * state_bytes(seven, "LoRA")
    assert [gpus_needed(size) for size in (1, 60e9, 60e9 + 1)] == [1, 1, 2]
    assert step_bytes(seven, "LoRA", "DDP", 2) == 2 * seven.adapter(16)
    expected = 2 * (seven.parameters + seven.adapter(16)) + seven.adapter(16)
    assert step_bytes(seven, "LoRA", "FSDP", 2) == pytest.approx(expected)
    for call in (
        lambda: state_bytes(seven, "half"),
        lambda: step_bytes(seven, "LoRA", "ZeRO", 2),
        lambda: gpus_needed(1, room=80e9),
    ):
        with pytest.raises(ValueError):
            call()
