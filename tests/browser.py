"""A headless Chromium for the tests of ring 3."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


def missing() -> str:
    "What a browser test needs and does not find."
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install playwright"
    return "" if CHROMIUM else "no Chromium on the PATH: apt-get install chromium"


def require_browser() -> None:
    "Skip where the browser is not installed; in continuous integration that is a failure."
    if reason := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@contextmanager
def new_page() -> Iterator:
    "A fresh playwright page in a browser of its own."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, play.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
