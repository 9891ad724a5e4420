"""Run folders by URL, against a real S3 server on this machine; the other stores are tested beside their definition."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import ROOT, tail

from dynbook.remote import finished, pull, push, read_manifest, staged

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    "An S3 server with an empty bucket; yields the options that reach it."
    import s3fs
    from moto import server

    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    options = {"endpoint_url": f"http://127.0.0.1:{running.get_host_and_port()[1]}"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint_url"])
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


CLIENT = """
    import sys, time
    from dataclasses import dataclass
    import pandas as pd
    import torch
    from dynbook.config import Config, option
    from dynbook.engines import run_all, sweep
    from dynbook.runs import run_or_load, run_status

    @dataclass(frozen=True)
    class Slow(Config):
        n: int = option(1, "number")

    def work(config, run):
        found = run.checkpoints.latest()
        start = int(found[0]["at"]) if found else 0
        with open(sys.argv[1], "a") as log:
            log.write(f"{config.n} from {start}\\n")
        for at in range(start, 4):
            time.sleep(0.1)
            run.checkpoints.save(at, {"at": torch.tensor(at)}, {})
            if sys.argv[2] == "breaks" and at == 2 and config.n == 3:
                raise RuntimeError("the machine went away")
        return pd.DataFrame({"square": [config.n ** 2], "third": [config.n / 3]})

    configs = [Slow(n) for n in range(4)]
    root = "s3://bucket/runs"
    if sys.argv[2] == "breaks":
        print(sorted(o.status for o in sweep(configs, work, root=root)[1]), run_status(configs[3], root))
    else:
        print([t.square.item() for t in run_all(configs, work, root)], [run_status(c, root) for c in configs])
"""


def client(tmp_path: Path, how: str) -> subprocess.Popen:
    "A process that runs a grid whose folder is a bucket."
    (tmp_path / "client.py").write_text(textwrap.dedent(CLIENT))
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    program = [sys.executable, str(tmp_path / "client.py"), str(tmp_path / "log"), how]
    return subprocess.Popen(program, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_clients_share_a_grid_in_a_bucket(bucket: dict, tmp_path: Path) -> None:
    "A run that fails is resumed by another client from the store; no run is trained twice."
    first = client(tmp_path, "breaks").communicate(timeout=100)[0]
    assert first.strip() == "['failed', 'finished', 'finished', 'finished'] failed", tail(first)
    assert len(finished("s3://bucket/runs")) == 3
    others = [client(tmp_path, "whole") for _ in range(2)]
    for said in (other.communicate(timeout=100)[0] for other in others):
        assert said.strip() == "[0, 1, 4, 9] ['finished', 'finished', 'finished', 'finished']", tail(said)
    log = sorted((tmp_path / "log").read_text().splitlines())
    assert log == ["0 from 0", "1 from 0", "2 from 0", "3 from 0", "3 from 2"]
    assert len(finished("s3://bucket/runs")) == 4
