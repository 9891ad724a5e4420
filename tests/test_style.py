"""The house rules that a program can check."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import ROOT, modules, name, run, syntax

CELL_LINES, FUNCTION_LINES, MODULE_LINES = 25, 50, 400
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
each_module = pytest.mark.parametrize("path", modules(), ids=name)


def public(body: list[ast.stmt], inherits: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    "The public functions, classes and methods, each with whether it could inherit its docstring."
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node, inherits
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, inherits=bool(node.bases))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    "Every function, however deep."
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    "Lines of a function without its docstring."
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)


def unannotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    "The arguments that say nothing about their type."
    spec = function.args
    listed = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [arg.arg for arg in listed if arg.annotation is None and arg.arg not in ("self", "cls")]


def dotted(node: ast.expr) -> str:
    "`a.b.c` for an attribute chain, else an empty string."
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_loads(tree: ast.Module) -> list[str]:
    "Calls and imports that could run code from a data file."
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in UNSAFE else []
        elif isinstance(node, ast.Call):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            called = dotted(node.func)
            if called == "torch.load" and given.get("weights_only") is not True:
                found.append("torch.load without weights_only=True")
            if called.endswith("read_pickle") or given.get("allow_pickle") not in (None, False):
                found.append(called)
    return found


@each_module
def test_public_names_are_documented_and_typed(path: Path) -> None:
    wanting = []
    for node, inherits in public(syntax(path).body):
        if not inherits and not ast.get_docstring(node):
            wanting.append(f"{node.name} (line {node.lineno}): no docstring")
        if isinstance(node, Function):
            wanting += [f"{node.name} (line {node.lineno}): {arg} has no type" for arg in unannotated(node)]
    assert not wanting, "; ".join(wanting)


@each_module
def test_functions_and_modules_are_short(path: Path) -> None:
    tree = syntax(path)
    long = [f"{node.name} has {length(node)} lines" for node in functions(tree) if length(node) > FUNCTION_LINES]
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert not long, "; ".join(long)
    assert lines <= MODULE_LINES, f"{name(path)} has {lines} lines"


@each_module
def test_a_long_exported_cell_holds_one_definition(path: Path) -> None:
    for cell in re.split(r"^# %% .*\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        defined = [node.name for node in ast.parse(cell).body if isinstance(node, Function | ast.ClassDef)]
        assert len(cell.strip().splitlines()) < CELL_LINES or len(defined) <= 1, defined


@each_module
def test_no_print_and_no_star_import(path: Path) -> None:
    nodes = list(ast.walk(syntax(path)))
    prints = [node.lineno for node in nodes if isinstance(node, ast.Call) and dotted(node.func) == "print"]
    stars = [n.lineno for n in nodes if isinstance(n, ast.ImportFrom) and any(alias.name == "*" for alias in n.names)]
    assert (prints, stars) == ([], []), "lines with print(...), lines with import *"


@each_module
def test_no_pickle_is_loaded(path: Path) -> None:
    assert unsafe_loads(syntax(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
    ],
)
def test_the_pickle_rule_sees(code: str) -> None:
    assert unsafe_loads(ast.parse(code))


def test_the_pickle_rule_allows_safe_loads() -> None:
    assert unsafe_loads(ast.parse("torch.load(path, weights_only=True); np.load(path); json.load(file)")) == []


def test_ruff_is_content() -> None:
    done = run([sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", ROOT], timeout=60)
    assert done.returncode == 0, done.stdout


def test_tools_and_tests_are_formatted() -> None:
    done = run(
        [sys.executable, "-m", "ruff", "format", "--no-cache", "--diff", "tests", "tools", "setup.py"], timeout=60
    )
    assert done.returncode == 0, done.stdout
