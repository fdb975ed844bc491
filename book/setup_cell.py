# Set-up: on Colab this installs lora_edu beside what is preinstalled; elsewhere it does nothing.
from importlib.util import find_spec
from os import environ
from subprocess import run

SOURCE = ""
if find_spec("lora_edu") is None and "COLAB_RELEASE_TAG" not in environ:
    print("lora_edu is not installed here. Type `make lab` in the folder of the book: it opens the chapters with it.")
elif find_spec("lora_edu") is None and not SOURCE:
    print("lora_edu cannot be installed here: this copy of the book has no address (book/_config.yml).")
elif find_spec("lora_edu") is None:
    run("pip list --format=freeze > /tmp/preinstalled.txt", shell=True, check=True)
    run(f"pip install --quiet --constraint /tmp/preinstalled.txt {SOURCE}", shell=True, check=True)
    run("python -m lora_edu fetch", shell=True, check=True)
