"""Builds the documentation site in site/ from the notebooks as they are stored; nothing is executed or downloaded."""

import argparse
import ast
import logging
import os
import posixpath
import re
import shutil
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import pages
from notebooks import NBS, ROOT, is_figure, notebooks, title_and_claim, to_markdown

os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")


def metadata(key: str) -> str:
    "A value of settings.ini."
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"][key]


STAGE = ROOT / "build" / "docs"
REPOSITORY = f"{metadata('url')}/blob/main"
CHAPTERS = {
    "mechanics": "Neural mechanics",
    "chaos": "Chaotic dynamics",
    "saturation": "Saturation",
    "teleport": "Teleportation",
    "collapse": "Neural collapse",
    "lenses": "Five lenses on one run",
}
SECTIONS = {
    "observe": "Your own run",
    "howto": "How to",
    "widgets": "Explorers",
    "cli": "Command line",
    "benchmarks": "Benchmarks",
}
COLAB = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")
BADGE = "assets/colab.svg"
FRONT = (NBS / "index.ipynb", NBS / "fig6.ipynb")
COPIED = ("LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md")
NEW_NAMES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

STYLE = """\
.md-grid { max-width: 76rem; }
.md-typeset h1 { font-weight: 500; margin-bottom: .6rem; }
[dir] .md-typeset h1 + blockquote { border: 0; padding: 0; font-size: .85rem; font-style: italic; }
.md-typeset .output, .md-typeset .output pre { margin-top: -.6rem; }
.md-typeset .output pre > code { background: none; border-left: .15rem solid var(--md-default-fg-color--lightest); }
.md-typeset .output .md-clipboard, .md-typeset .output .md-code__nav { display: none; }
.md-typeset img { max-width: min(100%, 46rem); }
.md-typeset .grid.cards > ul { grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)); }
.md-typeset .grid.cards > ul > li img { display: block; margin: 0 auto .4rem; max-height: 14rem; object-fit: contain; }
[data-md-color-scheme="slate"] .md-typeset img { background: #fff; border-radius: .1rem; padding: .3rem; }
.md-typeset p:has(> .source-link) { margin: 0; }
.md-typeset .source-link { float: right; font-size: .65rem; margin-top: .6rem; }
.md-typeset .source-link.colab { margin-right: .8rem; }
.md-typeset .colab img, [dir] .md-typeset .grid.cards > ul > li .colab img { display: inline; height: 1rem; margin: 0; padding: 0; background: none; vertical-align: text-bottom; }
.md-typeset p:has(> .source-link) + h1 { margin-top: 0; }
.md-typeset table:not([class]) th { min-width: 0; }
.md-typeset table:not([class]) td:first-child code { white-space: nowrap; }
.md-typeset table:not([class]) :is(th, td) { padding: .5em .9em; }
.md-typeset div.arithmatex { overflow-x: auto; }
"""
FORMULAS = """\
window.MathJax = {
  config: ["TeX-AMS-MML_HTMLorMML-full.js"],
  messageStyle: "none",
  showMathMenu: false,
  tex2jax: {inlineMath: [["\\\\(", "\\\\)"]], displayMath: [["\\\\[", "\\\\]"]], ignoreClass: ".*", processClass: "arithmatex"},
  "HTML-CSS": {availableFonts: [], webFont: "STIX-Web", imageFont: null, scale: 95, linebreaks: {automatic: true}},
};
"""


def page_of(target: str) -> str:
    "The staged name of a file of the repository: a notebook becomes a page."
    path = ROOT / target
    if path == NBS / "index.ipynb" or target == "README.md":
        return "index.md"
    return (
        target[: -len("ipynb")] + "md"
        if target.endswith(".ipynb") and path.is_file()
        else NEW_NAMES.get(target, target)
    )


def is_staged(target: str) -> bool:
    "Whether a file of the repository is part of the site."
    if target in (*COPIED, "README.md"):
        return True
    return target.startswith(("nbs/", "figures/")) and Path(target).suffix in (
        ".ipynb",
        ".png",
        ".svg",
        ".pdf",
        ".csv",
        ".json",
        ".yaml",
    )


def linker(page: str):
    "How `page` links to a path from the root: to the staged copy, or else to the repository."

    def link(target: str) -> str:
        if not is_staged(target):
            return f"{REPOSITORY}/{target}"
        return posixpath.relpath(page_of(target), posixpath.dirname(page) or ".")

    return link


def write(page: str, content: str | bytes) -> None:
    "Write one staged file."
    path = STAGE / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def stage_files() -> None:
    "Copy what pages link to."
    found = [ROOT / name for name in COPIED] + [*NBS.rglob("*"), *(ROOT / "figures").rglob("*")]
    for path in found:
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and is_staged(name) and not any(part[0] in "_." for part in path.relative_to(ROOT).parts):
            write(NEW_NAMES.get(name, name), path.read_bytes())


def colab(home: str, page: str) -> str:
    "A badge on `page` that opens a notebook of the repository in Colab."
    picture = posixpath.relpath(BADGE, posixpath.dirname(page) or ".")
    hint = "first cell there: %pip install dynbook"
    return f'[![Open in Colab]({picture})]({COLAB}/{home} "{hint}")'


def stage_notebook(path: Path) -> str:
    "Write one notebook's page and the pictures of its outputs; returns the page."
    target = path.relative_to(ROOT).as_posix()
    page = page_of(target)
    link = linker(page)
    pictures = posixpath.join("assets", "outputs", path.relative_to(NBS).with_suffix("").as_posix())
    folder = posixpath.relpath(pictures, posixpath.dirname(page) or ".")
    text, files = to_markdown(path, link, folder, output_language="{ .text .output }")
    source = posixpath.relpath(target, posixpath.dirname(page) or ".")
    head = f'[:material-download: notebook]({source} "{target}"){{ .source-link download }}'
    head += f" {colab(target, page)}{{ .source-link .colab }}"
    write(page, f"{head}\n\n{text}")
    for name, data in files.items():
        write(posixpath.join(pictures, name), data)
    return page


def card(path: Path) -> str:
    "One figure of the gallery: the picture, the claim, the notebook and the files beside the picture."
    link = linker("gallery.md")
    title, claim = map(without_links, title_and_claim(path))
    home = path.relative_to(ROOT).as_posix()
    page = link(home)
    related = [(suffix[1:], ROOT / "figures" / f"{path.stem}{suffix}") for suffix in (".csv", ".json", ".svg", ".pdf")]
    related.append(("paper-scale parameters", path.parent / "paper" / f"{path.stem}.yaml"))
    related.append(("parameters for real data", path.parent / "real" / f"{path.stem}.yaml"))
    files = [f"[{label}]({link(file.relative_to(ROOT).as_posix())})" for label, file in related if file.is_file()]
    lines = [f"[![{path.stem}](figures/{path.stem}.png)]({page})", f"**[{title}]({page})**", claim, f"`{home}`"]
    badge = f"{colab(home, 'gallery.md')}{{ .colab }}"
    return "-   " + "\n\n    ".join(filter(None, [*lines, " · ".join([*files, badge])]))


def stage_gallery() -> str:
    "A page with every stored figure, chapter by chapter."
    shown = [path for path in notebooks() if is_figure(path) and (ROOT / "figures" / f"{path.stem}.png").is_file()]
    text = "---\nhide: [navigation]\n---\n\n# Figures\n\n> Each picture is drawn by its notebook from the table beside it. "
    text += "All criteria: [paper and measurement](measured.md). "
    text += f"In Colab a first cell with `%pip install dynbook` is all that is missing: [how]({linker('gallery.md')('nbs/howto/in_colab.ipynb')}).\n"
    for folder, title in {"nbs": "Quick start", **CHAPTERS}.items():
        cards = [card(path) for path in shown if path.parent.name == folder]
        if cards:
            text += f'\n## {title}\n\n<div class="grid cards" markdown>\n\n' + "\n\n".join(cards) + "\n\n</div>\n"
    write("gallery.md", text)
    return "gallery.md"


def without_links(text: str) -> str:
    "A text with its links' words only: it is shown on another page."
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def module_name(path: Path) -> str:
    "The dotted name of a source file."
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def origin(path: Path) -> str:
    "The notebook that a module is exported from, as a path from the root; empty if it names none."
    found = re.search(
        r"^# AUTOGENERATED.* File to edit: (\S+)\.$", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    home = path.parent.relative_to(ROOT).as_posix()
    return posixpath.normpath(posixpath.join(home, found.group(1))) if found else ""


def stage_module(path: Path) -> tuple[str, str]:
    "Write the page of one module; returns its name and what it says of itself."
    name, notebook = module_name(path), origin(path)
    page = f"api/{name}.md"
    source = (
        f"[:material-notebook-outline: {notebook}]({linker(page)(notebook)}){{ .source-link }}\n\n" if notebook else ""
    )
    write(page, f"{source}# {name}\n\n::: {name}\n")
    claim = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
    return name, without_links(" ".join(claim.split())).replace("|", r"\|")


def stage_api() -> list:
    "A page per module with public functions or classes, in the order of the notebooks; returns their navigation."
    paths = []
    for path in (ROOT / "dynbook").rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" for node in body):
            paths.append(path)
    order = sorted(paths, key=lambda path: (not origin(path).startswith("nbs/core/"), origin(path)))
    listed = [stage_module(path) for path in order]
    rows = "\n".join(f"| [`{name}`]({name}.md) | {claim} |" for name, claim in listed)
    write("api/index.md", f"# API\n\n| module | what it does |\n| --- | --- |\n{rows}\n")
    return ["api/index.md", *({name.removeprefix("dynbook."): f"api/{name}.md"} for name, _ in listed)]


def nav_entry(path: Path) -> dict[str, str] | str:
    "A notebook in the navigation, under its title; a folder's index is the page of its section."
    page = stage_notebook(path)
    return page if path.stem == "index" else {title_and_claim(path)[0]: page}


def stage_book() -> list:
    "All notebooks; returns their navigation: ground floor, the chapters with their figures, the rest."
    folders: dict[str, list[Path]] = {}
    for path in notebooks():
        if path not in FRONT:
            first = path.relative_to(NBS).parts[0]
            folders.setdefault("cli" if first.startswith("cli") else first, []).append(path)
    titles = {"core": "Ground floor"} | CHAPTERS | SECTIONS
    order = [*titles, *sorted(set(folders) - set(titles))]
    tabs: dict[str, list] = {"Chapters": [], "Ground floor": [], "Your own run": [], "How to": [], "Tools": []}
    for folder in filter(folders.get, order):
        own = sorted(folders[folder], key=lambda path: (path.stem not in ("index", "cli"), path))
        texts = [nav_entry(path) for path in own if not is_figure(path)]
        figures = [{path.stem: stage_notebook(path)} for path in own if is_figure(path)]
        entries = texts + ([{"Figures": figures}] if figures and texts else figures)
        title = titles.get(folder, "")
        tab = "Chapters" if folder in CHAPTERS else title if title in tabs else "Tools"
        tabs[tab] += entries if title in ("", tab) else [{title: entries}]
    return [{tab: entries} for tab, entries in tabs.items() if entries]


def stage_formulas() -> None:
    "MathJax for formulas, from the installed package: the site asks no other server for it."
    spec = find_spec("jupyter_server_mathjax")
    if spec is None:
        sys.exit("jupyter-server-mathjax is not installed: pip install -c constraints.txt -e '.[docs]'")
    source = Path(spec.submodule_search_locations[0]) / "static"
    left_out = shutil.ignore_patterns("a11y", "SVG", "localization")
    shutil.copytree(source, STAGE / "assets" / "mathjax", ignore=left_out)


def stage() -> list:
    "Write all pages; returns the navigation."
    shutil.rmtree(STAGE, ignore_errors=True)
    stage_files()
    write("assets/book.css", STYLE)
    write("assets/formulas.js", FORMULAS)
    write(BADGE, (ROOT / "tools" / "colab.svg").read_bytes())
    stage_formulas()
    nav: list = [{"Home": stage_notebook(FRONT[0])}]
    if FRONT[1].is_file():
        nav.append({"Quick start": stage_notebook(FRONT[1])})
    nav += stage_book()
    nav += [{"Figures": stage_gallery()}, {"API": stage_api()}]
    made = []
    for page, (title, make) in pages.PAGES.items():
        write(page, make(linker(page)))
        made.append({title: page})
    return nav + [{"Project": [*made, {"Contributing": "contributing.md"}, {"Changelog": "changelog.md"}]}]


def main() -> None:
    "The command line."
    argparse.ArgumentParser(description=__doc__).parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    os.chdir(ROOT)
    nav = stage()
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config("mkdocs.yml", nav=nav, docs_dir=str(STAGE))
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    config.plugins.on_shutdown()
    print(f"{config.site_dir}/index.html")


if __name__ == "__main__":
    main()
