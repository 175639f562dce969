"""Settings of every test.

One thread per process, and no silent skip where CI says that everything is installed.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

# Before NumPy and torch are imported: they read these once. A busy machine makes threaded BLAS many
# times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from importlib import import_module

import pytest

from mmfree.cli.parser import VERBS

# A verb's module is imported when the verb is asked for: first within a test, it would keep what
# that test has put in the place of a function.
for verb in VERBS:
    import_module(f"mmfree.cli.{verb}")

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Amaranth makes millions of objects, and few are garbage: to look for it every 700 of them takes a
# fifth of the time of a chip's Verilog.
gc.set_threshold(50_000, 20, 50)

IN_CI = os.environ.get("CI") == "true"


def _fail_when_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps its reason (CI installs everything a test may need)."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped where CI=true allows no skip: {reason}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there now stays: thousands of tests, torch, and all that they import."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_when_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_when_skipped(report)
    return report
