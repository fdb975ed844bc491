"""What all tests share: the same examples in every run, so that a failure today is a failure tomorrow."""

import nbval.plugin
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "book", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("book")


def pytest_configure(config: pytest.Config) -> None:
    """Measure the package's coverage by the tests alone, and run the chapters as a reader does, untraced.

    nbval would start the measurement inside each kernel as well, and waits for it in vain.
    """
    nbval.plugin.setup_coverage = lambda *arguments: None
    nbval.plugin.teardown_coverage = lambda *arguments: None
