"""Ring 3: the explorers as apps, without a notebook around them: Voila serves them, a key is pressed, the picture changes."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import new_page, require_browser
from project import NBS, copy_checkout, tail
from test_jupyterlab import private_folders

pytestmark = pytest.mark.real
EXPLORERS = sorted((NBS / "widgets").glob("[a-z]*_explorer.ipynb"))


def answers(url: str) -> bool:
    "Whether a server is there."
    try:
        urllib.request.urlopen(url, timeout=5).close()
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    "The address of a Voila that serves the explorers of a private copy of the checkout."
    require_browser()
    folder = tmp_path_factory.mktemp("voila")
    checkout = copy_checkout(folder / "checkout")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}", "--Voila.root_dir=nbs/widgets"]
    log, url = folder / "voila.log", f"http://127.0.0.1:{port}"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "voila", "nbs/widgets", *options],
            cwd=checkout,
            env=private_folders(folder),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 60
            while not answers(url) and server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            assert answers(url), tail(log.read_text())
            yield url
        finally:
            server.terminate()
            server.wait(timeout=30)


@pytest.mark.parametrize("notebook", EXPLORERS, ids=lambda path: path.stem)
def test_an_app_s_picture_follows_its_slider(apps: str, tmp_path: Path, notebook: Path) -> None:
    from playwright.sync_api import expect

    with new_page() as page:
        page.set_default_timeout(120_000)
        handle, picture = page.locator(".noUi-handle").first, page.locator(".jupyter-widgets img").first
        page.goto(f"{apps}/voila/render/{notebook.name}", wait_until="commit")
        expect(picture).to_be_visible(timeout=120_000)
        before = picture.get_attribute("src")
        handle.focus()
        handle.press("ArrowRight")
        expect(picture).not_to_have_attribute("src", before, timeout=60_000)
        page.set_viewport_size({"width": 1100, "height": 900})
        page.screenshot(path=Path(os.environ.get("DYNBOOK_SCREENSHOTS", tmp_path)) / f"{notebook.stem}.png")
