"""The workflows of the repository's host, read as they stand: what they name exists, and what they call is accepted."""

import ast
import os
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from project import ROOT, name

from dynbook.cli import make_parser
from dynbook.figures import find_figure

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HEREDOC = re.compile(r"^(?P<call>.*)<<'(?P<mark>\w+)'\n(?P<text>.*?)\n(?P=mark)$", flags=re.MULTILINE | re.DOTALL)
PLAIN = {"mkdir", "cp", "cd", "grep", "apt-get", "sudo"}
CREATED = {"/tmp/empty", "dist/*"}  # by an earlier command of the same workflow


def load(path: Path) -> dict:
    "A workflow; YAML reads its key `on` as the truth."
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: dict) -> list[tuple[dict, dict]]:
    "Every step with its job, once for each row of the job's matrix."
    found = []
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        rows = matrix.get("include") or [{key: value} for key, values in matrix.items() for value in values] or [{}]
        found += [(row, step) for row in rows for step in job["steps"]]
    return found


def commands(row: dict, text: str) -> list[list[str]]:
    "The words of every command of a `run:` block, with the matrix put in; a script is the last word of its command."
    for key, value in row.items():
        text = text.replace(f"${{{{ matrix.{key} }}}}", str(value))
    scripts: list[str] = []

    def taken(found: re.Match) -> str:
        scripts.append(found["text"])
        return f"{found['call']} @{len(scripts) - 1}"

    lines = HEREDOC.sub(taken, text.strip()).splitlines()
    parts = [shlex.split(part) for line in lines for part in line.split("&&")]
    return [[scripts[int(w[1:])] if re.fullmatch(r"@\d+", w) else w for w in words] for words in parts]


def cases() -> list:
    "Every command of every workflow."
    return [
        pytest.param(words, id=f"{path.stem}: {' '.join(words)[:50]}")
        for path in WORKFLOWS
        for row, step in steps(load(path))
        if "run" in step
        for words in commands(row, step["run"])
    ]


def targets() -> set[str]:
    "What `make` can make."
    return set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def check_python(words: list[str]) -> None:
    "`python -m MODULE …` or `python - SCRIPT`."
    if words[0] == "-m":
        assert find_spec(words[1]) or words[1] in ("build", "twine", "pip"), words
    else:
        assert words[0] == "-"
        ast.parse(words[1])


def check_dynbook(words: list[str]) -> None:
    "The command line accepts it; of a figure, also the parameters."
    args = make_parser().parse_args(words)
    if words[0] == "figure":
        known = {parameter[0] for parameter in find_figure(args.name).parameters()}
        given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}
        assert given <= known, given - known


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_has_what_its_host_asks_for(path: Path) -> None:
    workflow = load(path)
    assert workflow["name"] == path.stem and workflow[True] and workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        assert set([job["needs"]] if "needs" in job else []) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), step
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{\{ (\w+)\.", text)) <= {"github", "matrix", "steps"}


@pytest.mark.parametrize("words", cases())
def test_what_a_workflow_calls_exists(words: list[str]) -> None:
    program, *rest = words
    if program == "make":
        assert set(rest) <= targets(), rest
    elif program == "python":
        check_python(rest)
    elif program == "dynbook":
        check_dynbook(rest)
    else:
        assert program in PLAIN, program
    files = [w for w in rest if re.fullmatch(r"[\w./*-]+", w) and ("." in w[1:] or "/" in w) and w not in CREATED]
    missing = [w for w in files if program != "dynbook" and not (ROOT / w).exists()]
    assert not missing, missing


@pytest.mark.parametrize("tag, code", [("same", 0), ("v9.9.9", 1)])
def test_a_release_must_bear_its_version(tag: str, code: int) -> None:
    "The step is executed as it stands."
    version = re.search(r"^version = (.+)$", (ROOT / "settings.ini").read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    [step] = [
        s for _, s in steps(load(ROOT / ".github/workflows/release.yml")) if s.get("name") == "The tag is the version"
    ]
    env = dict(os.environ, GITHUB_REF_NAME=f"v{version}" if tag == "same" else tag)
    assert subprocess.run(["bash", "-ec", step["run"]], cwd=ROOT, env=env).returncode == code


def test_paths_of_triggers_exist() -> None:
    for path in WORKFLOWS:
        push = (load(path)[True] or {}).get("push") or {}
        assert [p for p in push.get("paths", []) if not (ROOT / p).exists()] == [], path
