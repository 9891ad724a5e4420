"""Run folders by URL, against a real S3 server on this machine; the other stores are tested beside their definition."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynbook.remote import finished, pull, push, read_manifest, staged

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    "An S3 server with an empty bucket; yields the options that reach it."
    server = pytest.importorskip("moto.server", reason="needs pip install 'moto[server]'")
    s3fs = pytest.importorskip("s3fs", reason="needs pip install 'dynbook[remote]'")
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    options = {"endpoint_url": f"http://127.0.0.1:{running.get_host_and_port()[1]}"}
    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield options
    s3fs.S3FileSystem(**options).rm("bucket", recursive=True)
    running.stop()


def write(folder: Path, text: str) -> Path:
    (folder / "ckpt").mkdir(parents=True, exist_ok=True)
    (folder / "ckpt" / "step.bin").write_bytes(os.urandom(1 << 16))
    (folder / "run.json").write_text(text)
    return folder


def test_push_list_pull_on_s3(bucket: dict, tmp_path: Path) -> None:
    here = write(tmp_path / "here", "{}")
    push(here, "s3://bucket/runs/a", done=False, **bucket)
    assert finished("s3://bucket/runs", **bucket) == []
    push(here, "s3://bucket/runs/a", **bucket)
    push(write(tmp_path / "other", "[]"), "s3://bucket/runs/deep/b", **bucket)
    assert finished("s3://bucket/runs", **bucket) == ["a", "deep/b"]
    assert pull("s3://bucket/runs/a", tmp_path / "there", **bucket)
    assert (tmp_path / "there/ckpt/step.bin").read_bytes() == (here / "ckpt/step.bin").read_bytes()


def test_an_interrupted_upload_to_s3_is_never_listed(
    bucket: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    call, left = s3fs.S3FileSystem._call_s3, [1]

    async def breaks(self, method, *args, **kwargs):
        left[0] -= method == "put_object"
        if left[0] < 0:
            raise OSError("the line is dead")
        return await call(self, method, *args, **kwargs)

    old, new = write(tmp_path / "old", "1"), write(tmp_path / "new", "2")
    with monkeypatch.context() as patched:
        patched.setattr(s3fs.S3FileSystem, "_call_s3", breaks)
        with pytest.raises(OSError, match="dead"):
            push(old, "s3://bucket/runs/a", **bucket)
    assert finished("s3://bucket/runs", **bucket) == []
    push(old, "s3://bucket/runs/a", **bucket)
    left[0] = 1
    with monkeypatch.context() as patched:
        patched.setattr(s3fs.S3FileSystem, "_call_s3", breaks)
        with pytest.raises(OSError, match="dead"):
            push(new, "s3://bucket/runs/a", **bucket)
    assert pull("s3://bucket/runs/a", tmp_path / "whole", **bucket)
    assert (tmp_path / "whole/run.json").read_text() == "1"
    assert (tmp_path / "whole/ckpt/step.bin").read_bytes() == (old / "ckpt/step.bin").read_bytes()


def test_a_copy_of_s3_goes_back_even_after_an_error(bucket: dict) -> None:
    with pytest.raises(RuntimeError), staged("s3://bucket/run", **bucket) as folder:
        write(folder, "half")
        raise RuntimeError
    manifest = read_manifest("s3://bucket/run", **bucket)
    assert manifest is not None and not manifest["done"] and "run.json" in manifest["files"]
    with staged("s3://bucket/run", **bucket) as folder:
        assert (folder / "run.json").read_text() == "half"
    assert finished("s3://bucket", **bucket) == ["run"]
