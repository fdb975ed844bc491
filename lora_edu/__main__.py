"""`python -m lora_edu fetch` downloads the model and data that the chapters use."""

import argparse

from . import assets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lora_edu", description=__doc__)
    commands = parser.add_subparsers(required=True)
    fetch = commands.add_parser("fetch", help="download the pretrained model and the reviews, once")
    fetch.set_defaults(run=assets.fetch)
    parser.parse_args().run()
    print(f"model and data are in {assets.folder()}")


if __name__ == "__main__":
    main()
