"""Ring 3: the documentation site builds, is complete, and shows formulas without asking another server."""

import re
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import new_page, require_browser
from project import NBS, copy_checkout, notebooks, run, tail

pytestmark = pytest.mark.real
FOREIGN = re.compile(r"""<(?:script[^>]*\bsrc|link[^>]*\brel=["']?stylesheet[^>]*\bhref|img[^>]*\bsrc)=["']?https?:""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The site, built offline from a copy of the checkout; a broken link stops the build."
    checkout = copy_checkout(tmp_path_factory.mktemp("docs") / "checkout")
    done = run([sys.executable, checkout / "tools" / "docs.py"], timeout=300, cwd=checkout)
    assert done.returncode == 0, tail(done.stdout)
    return checkout / "site"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    "The site behind a server on this machine."
    handler = partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_notebook_has_a_page(site: Path) -> None:
    for path in notebooks():
        page = Path("nbs") / path.relative_to(NBS).with_suffix("")
        page = page.parent if path.stem == "index" else page
        page = Path() if path == NBS / "index.ipynb" else page
        assert (site / page / "index.html").is_file(), page


def test_no_page_loads_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert pages and [str(page) for page in pages if FOREIGN.search(page.read_text(encoding="utf-8"))] == []


def test_formulas_are_typeset(site: Path, address: str) -> None:
    require_browser()
    pages = [page.parent.relative_to(site) for page in site.rglob("index.html") if "arithmatex" in page.read_text()]
    assert pages, "no page has a formula"
    asked: list[str] = []
    with new_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        for place in sorted(pages):
            page.goto(f"{address}/{place.as_posix()}/")
            page.wait_for_function(
                "[...document.querySelectorAll('.arithmatex')].every(e => e.querySelector('.MathJax .math, .merror'))"
            )
            assert page.locator(".merror, .MathJax_Error").all_inner_texts() == [], place
    assert [url for url in asked if url.startswith("http") and not url.startswith(address)] == []
