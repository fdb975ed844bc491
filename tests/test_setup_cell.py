"""The set-up cell, run in an empty environment that has only torch and numpy (and what these two need), as on Colab.

Colab brings its own torch and numpy, built for its machines. A book that replaces them breaks the session.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import execute
import pytest

from lora_edu import assets

ROOT = Path(__file__).resolve().parent.parent
LISTING = """
import importlib.metadata as m
print(sorted((d.name, d.version, d.locate_file("METADATA").parent.stat().st_mtime_ns) for d in m.distributions()))
"""
STATE = """
import importlib.metadata as m
for name in ("torch", "numpy", "scipy"):
    try:
        found = m.distribution(name)
        print(name, found.version, found.locate_file(""), (found.locate_file(name) / "__init__.py").stat().st_mtime_ns)
    except m.PackageNotFoundError:
        print(name, "absent")
"""


def needs(name: str, seen: set[str]) -> set[str]:
    """The installed distributions that `name` needs, itself included; extras and other platforms left out."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return seen
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in seen:
        seen.add(key)
        for requirement in found.requires or []:
            if "extra ==" not in requirement:
                needs(re.match(r"[A-Za-z0-9._-]+", requirement).group(0), seen)
    return seen


def link(source: str, target: str) -> None:
    """A hard link where the disk allows it: nothing is copied, and removing it leaves the original alone."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment with pip, torch and numpy, made of the files that are installed here already."""
    folder = tmp_path_factory.mktemp("colab") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # setuptools is pip's own business: a torch that asks for it can have the one that venv or pip brings.
    for name in sorted(needs("torch", set()) | needs("numpy", set())):
        for top in {Path(str(file)).parts[0] for file in importlib.metadata.distribution(name).files or []} - {".."}:
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if (site / top).exists():
                continue
            if source.is_dir():
                shutil.copytree(source, site / top, copy_function=link)
            else:
                link(str(source), str(site / top))
    return folder


@pytest.fixture
def not_installed(environment):
    """The package is not in the environment, also after a test that put it there."""
    subprocess.run([str(environment / "bin" / "pip"), "uninstall", "--yes", "--quiet", "lora-edu"], check=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git repository with the package in it, as it is now: what the book's address will stand for."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "lora_edu", folder / "lora_edu", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in ("init --quiet --initial-branch=main", "add .", "commit --quiet --message=package"):
        subprocess.run([*git, *command.split()], check=True)
    return folder


@pytest.fixture(scope="module")
def run(environment, tmp_path_factory):
    """Run Python code in the environment, on Colab or elsewhere, and return what it printed."""
    work = tmp_path_factory.mktemp("work")

    def run(code: str, colab: bool) -> str:
        # No PYTHONPATH: it would bring this folder's packages along. The model and data are the ones fetched already.
        foreign = ("PYTHON", "COLAB", "VIRTUAL_ENV")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        kept["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        kept["LORA_EDU_ASSETS"] = str(assets.folder())
        kept["PIP_NO_COMPILE"] = "1"  # quicker, and the test imports few of the modules
        if colab:
            kept["COLAB_RELEASE_TAG"] = "release-colab"
        python = str(environment / "bin" / "python")
        done = subprocess.run([python, "-c", code], cwd=work, env=kept, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def cell(repository):
    return execute.setup_cell(f"file://{repository}", "main")


def test_elsewhere_it_installs_nothing_and_says_what_to_type(not_installed, run, cell):
    before = run(LISTING, colab=False)
    said = run(cell, colab=False)
    assert said.count("\n") == 1
    assert "make lab" in said
    assert run(LISTING, colab=False) == before


def test_on_colab_without_an_address_it_says_so(not_installed, run):
    said = run(execute.setup_cell("", "main"), colab=True)
    assert said.count("\n") == 1
    assert "address" in said


def test_on_colab_it_installs_the_package_and_leaves_what_is_there(not_installed, run, cell, environment):
    before = run(STATE, colab=True).splitlines()
    assert before[0].startswith("torch ") and before[1].startswith("numpy ") and before[2] == "scipy absent"
    run(cell, colab=True)
    after = run(STATE, colab=True).splitlines()
    assert after[:2] == before[:2], "torch or numpy was replaced"
    answer = run("import lora_edu; print(lora_edu.__file__, lora_edu.exact_rank([[1, 2], [2, 4]]))", colab=True)
    assert answer.split() == [str(next(environment.glob("lib/python*/site-packages/lora_edu/__init__.py"))), "1"]

    # Again: now the package is there, and nothing happens at all. An address that leads nowhere would make it fail.
    listing = run(LISTING, colab=True)
    assert run(cell.replace("file://", "file:///nowhere"), colab=True) == ""
    assert run(LISTING, colab=True) == listing
    assert run(STATE, colab=True).splitlines() == after
    assert run(cell, colab=False) == ""
