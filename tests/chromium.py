"""The browser of the tests that need one: Debian's chromium, by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
HANGS = 300_000  # milliseconds: only what hangs takes so long, also on a machine that has other work


@contextmanager
def launched() -> Iterator[Any]:
    """A test is skipped where there is none, and fails with SCRATCHRNN_BROWSER=required."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    missing = pytest.fail if os.environ.get("SCRATCHRNN_BROWSER") == "required" else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing("needs playwright")
    if path is None:
        missing("needs chromium, in the PATH or named by the variable CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=HANGS)
        yield browser
        browser.close()
