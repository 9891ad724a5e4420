"""Ring 3: the report of a stock network on a folder of pictures opens in a browser that has no network."""

from pathlib import Path

import numpy as np
import pytest
from browser import new_page, require_browser
from PIL import Image

import dynbook.observe
from dynbook.observe import LENSES

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder of small pictures, four classes."
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 8)):
        for k in range(4):
            home = folder / part / f"class{k}"
            home.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (32, 32, 3)) + 40 * np.eye(4)[k][:3].astype(int)
                Image.fromarray(pixels.astype("uint8")).save(home / f"{i}.png")
    return folder


def test_five_lines_on_resnet18_give_a_page_that_opens_offline(photos: Path, tmp_path: Path) -> None:
    require_browser()
    import torchvision  # after dynbook, which mends it beside a CPU build of torch

    model = torchvision.models.resnet18(num_classes=4)
    seen = dynbook.observe.report(model, photos, tmp_path / "report.html", epochs=1, n=64, batch_size=32)
    assert set(seen.table.lens) == set(LENSES), seen.table.attrs["notes"]
    asked: list[str] = []
    with new_page() as page:
        page.context.set_offline(True)
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        assert page.locator("img").evaluate("image => image.naturalWidth") > 400
        assert page.locator("h2").count() >= len(LENSES)
        page.locator("summary").first.click()
        assert page.locator("details table").first.is_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="as a table").click()
        table = Path(download.value.path()).read_text(encoding="utf-8")
    assert len(table.splitlines()) == len(seen.table) + 1
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
