"""Ring 3: the quick start in JupyterLab, in a real browser."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import new_page, require_browser
from project import NBS, copy_checkout, read

pytestmark = pytest.mark.real
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is on the page, also those out of sight
}
SECONDS = 240  # for all cells of the quick start, from a cold cache, on a busy machine


def private_folders(folder: Path) -> dict[str, str]:
    "An environment in which JupyterLab touches nothing of the user's own."
    env = dict(os.environ, DYNBOOK_RUNS=str(folder / "runs"))
    for kind in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        env[f"JUPYTER_{kind}"] = str(folder / kind.lower())
    for kind in ("SETTINGS_DIR", "WORKSPACES_DIR"):
        env[f"JUPYTERLAB_{kind}"] = str(folder / kind.lower())
    for plugin, values in SETTINGS.items():
        path = folder / "settings_dir" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return env


def wait_for_server(url: str, process: subprocess.Popen, log: Path) -> None:
    "Return when the server answers."
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/api/status", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    "A running JupyterLab over a private copy of the checkout: its address and the copy."
    require_browser()
    checkout = copy_checkout(tmp_path / "checkout")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    log = tmp_path / "lab.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=checkout,
            env=private_folders(tmp_path),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for_server(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}", checkout
        finally:
            process.terminate()
            process.wait(timeout=30)


def saved(path: Path) -> tuple[list, list[str]]:
    "The errors, and the kinds of output, that the notebook file holds."
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    errors = [output for output in outputs if output.output_type == "error"]
    return errors, [kind for output in outputs for kind in output.get("data", {})]


def run_all(page: object, address: str) -> None:
    "Open a notebook, clear its outputs, run all cells and wait for the last one; fail on a traceback."
    from playwright.sync_api import expect

    page.goto(address)
    idle = page.get_by_text("| Idle")
    idle.wait_for()
    page.get_by_role("menuitem", name="Edit").click()
    page.get_by_text("Clear Outputs of All Cells").click()
    expect(page.locator(".jp-OutputArea-output img")).to_have_count(0)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    pending = page.locator(".jp-CodeCell .jp-InputPrompt").filter(has_text=re.compile(r"\[[ *]\]"))
    failures = page.locator(".jp-OutputArea-output").filter(has_text="Traceback (most recent call last)")
    deadline = time.monotonic() + SECONDS
    while pending.count() and not failures.count() and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert failures.all_inner_texts() == []
    assert pending.count() == 0, f"{pending.count()} cells are not finished after {SECONDS} s"
    idle.wait_for()


def test_quick_start_runs_in_jupyterlab(lab: tuple[str, Path], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    url, checkout = lab
    path = checkout / "nbs" / "fig6.ipynb"
    with new_page() as page:
        run_all(page, f"{url}/lab/tree/nbs/fig6.ipynb")
        picture = page.locator(".jp-OutputArea-output img").first
        picture.scroll_into_view_if_needed()
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 100
        page.screenshot(path=tmp_path / "finished.png")
        before = path.stat().st_mtime_ns
        page.keyboard.press("Control+s")
        deadline = time.monotonic() + 30
        while path.stat().st_mtime_ns == before and time.monotonic() < deadline:
            page.wait_for_timeout(100)
    errors, kinds = saved(path)
    assert errors == [], errors
    assert "image/png" in kinds


EXPLORERS = sorted((NBS / "widgets").glob("[a-z]*_explorer.ipynb"))


@pytest.mark.parametrize("notebook", EXPLORERS, ids=lambda path: path.stem)
def test_an_explorer_s_picture_follows_its_slider(lab: tuple[str, Path], tmp_path: Path, notebook: Path) -> None:
    "A slider gets the focus, an arrow key is pressed, and the picture becomes another one."
    from playwright.sync_api import expect

    url, _ = lab
    with new_page() as page:
        run_all(page, f"{url}/lab/tree/nbs/widgets/{notebook.name}")
        handle, picture = page.locator(".noUi-handle").first, page.locator(".jupyter-widgets img").first
        expect(picture).to_be_visible()
        before = picture.get_attribute("src")
        handle.focus()
        handle.press("ArrowRight")
        expect(picture).not_to_have_attribute("src", before, timeout=60_000)
        handle.scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / f"{notebook.stem}.png")
        assert page.locator(".jp-OutputArea-output").filter(has_text="Traceback").count() == 0
