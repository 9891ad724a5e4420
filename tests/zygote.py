"""Runs notebooks, each in a child process that begins with the libraries already imported and nothing of dynbook's loaded."""

import json
import os
import sys


def life(path: str) -> int:
    "What a child does: one notebook, as nbdev runs it; 0 if all its cells pass."
    from nbdev.config import get_config
    from nbdev.test import test_nb

    config = get_config()
    flags = config.tst_flags
    passed, _ = test_nb(
        path, skip_flags=flags.split() if isinstance(flags, str) else flags, basepath=config.config_path
    )
    return 0 if passed else 1


def child(path: str, log: str) -> None:
    "Never returns."
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 1
    try:
        code = life(path)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    "Answer every line {path, log} of the standard input with two: the child's process id, then its exit code."
    import dynbook  # noqa: F401, I001  (makes torchvision importable beside a CPU build of torch)
    import matplotlib.pyplot  # noqa: F401
    import nbdev.test  # noqa: F401
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401
    import seaborn  # noqa: F401
    import torch.func  # noqa: F401
    import torchvision  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(job["path"], job["log"])
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
