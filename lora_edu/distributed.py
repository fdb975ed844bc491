"""Fine-tune a language model with LoRA on many processes. Start it with torchrun, one process for each GPU or core:

    python -m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 1 \\
        -m lora_edu.distributed chats.safetensors out --method ddp --epochs 1

With a GPU for each process they talk through NCCL, otherwise on the CPU through gloo; nothing else differs. When a
process dies, torchrun ends the others and starts all of them again, and they go on from the checkpoint. See
`data_parallel` for the training.
"""

import argparse
import datetime
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from .assets import find
from .chat import next_token
from .data_parallel import METHODS, train_on_many
from .inject import add_lora
from .models import without_progress_bar


def main(arguments: list[str] | None = None) -> None:
    """Train, and leave in the output folder: the adapter, the checkpoint, and report.json."""
    options = _parser().parse_args(arguments)
    on_gpu = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])  # NCCL wants a GPU for each process
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    join("nccl" if on_gpu else "gloo", options.timeout)
    rank, out = dist.get_rank(), Path(options.out)
    _say(f"process {rank} has the id {os.getpid()}")
    try:
        model = _load(options.model).to(device)
        if options.train == "lora":
            torch.manual_seed(options.seed)
            add_lora(model, options.targets, r=options.r, alpha=options.alpha)
        # FSDP2 warns that logits are a view of a larger tensor; nobody changes them in place here.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module")

        def on_step(step: int, loss: float) -> None:
            if rank == 0:
                _say(f"step {step}: loss {loss:.4f}")

        report = train_on_many(
            model,
            load_file(options.data),
            method=options.method,
            objective=next_token,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr=options.lr,
            seed=options.seed,
            checkpoint=out / "checkpoint.pt" if options.checkpoint_every else None,
            checkpoint_every=options.checkpoint_every or 1,
            adapter=out / "adapter" if options.train == "lora" else None,
            on_step=on_step,
        )
        if rank == 0:
            out.mkdir(parents=True, exist_ok=True)
            (out / "report.json").write_text(json.dumps(asdict(report)) + "\n", encoding="utf-8")
    finally:
        dist.destroy_process_group()


def join(backend: str, timeout: float) -> None:
    """Join the group of all processes that torchrun started. Who waits longer than `timeout` seconds fails.

    After a restart, torchrun's store still has the addresses of the processes that died (PyTorch 2.13), and who comes
    first would call one of them. So each attempt keeps its addresses under a name of its own.
    """
    store, rank, processes = next(rendezvous("env://"))
    store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    wait = datetime.timedelta(seconds=timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=wait)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")  # in one piece: the processes share one output, and print() writes the end by itself
    sys.stdout.flush()


def _load(folder: str | None) -> Any:
    """The model of a folder, or SmolLM2, without the tokenizer: the rows are token ids already."""
    from transformers import AutoModelForCausalLM  # here, because transformers takes seconds to load

    with without_progress_bar():
        return AutoModelForCausalLM.from_pretrained(
            folder or find("smollm2"), dtype=torch.float32, local_files_only=True
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lora_edu.distributed", description="LoRA on many processes, under torchrun.")
    parser.add_argument("data", help="a safetensors file with input_ids, attention_mask and labels (tokenize_chats)")
    parser.add_argument("out", help="a folder for the adapter, the checkpoint and report.json")
    parser.add_argument("--model", help="a folder with a causal language model; SmolLM2-135M-Instruct by default")
    parser.add_argument("--method", choices=METHODS, default="ddp")
    parser.add_argument("--train", choices=("lora", "full"), default="lora")
    parser.add_argument("--targets", nargs="+", default=["q_proj", "v_proj"])
    parser.add_argument("--r", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8, help="rows of the whole batch, over all processes")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint-every", type=int, default=1, help="steps; 0 for no checkpoint")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for another process")
    return parser


if __name__ == "__main__":
    main()
