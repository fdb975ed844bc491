"""What all tests share: the same examples in every run, so that what fails today fails tomorrow, and a browser."""

from collections.abc import Iterator
from pathlib import Path

import nbval.plugin
import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "book", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("book")

torch.manual_seed(0)  # for what a module of tests draws while it is imported

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Headless Chromium, which asks no server for anything by itself."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing; the book's pages are tested in it. Install it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        options += ["--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        yield chromium
        chromium.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Each test draws the same in every run, alone or among others: PyTorch seeds itself from the machine's entropy."""
    torch.manual_seed(0)


def pytest_configure(config: pytest.Config) -> None:
    """Measure the package's coverage by the tests alone, and run the chapters as a reader does, untraced.

    nbval would start the measurement inside each kernel as well, and waits for it in vain.
    """
    nbval.plugin.setup_coverage = lambda *arguments: None
    nbval.plugin.teardown_coverage = lambda *arguments: None
