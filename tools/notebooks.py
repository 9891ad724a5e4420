"""A notebook as a Markdown page: what README.md and the documentation site are made of."""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import MarkdownExporter

from dynbook.figures import NAME

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
DIRECTIVE = re.compile(r"^#\|[ \t]*([\w-]+)[ \t]*:?[ \t]*(.*)$", flags=re.MULTILINE)
LINK = re.compile(r"""(?P<before>\]\(|\b(?:src|href)=["'])(?P<target>[^)\s"']+)""")
TEMPLATE = """
{%- extends 'markdown/index.md.j2' -%}
{%- block input %}
{%- if not cell.metadata.get("hide_input") %}
{{ cell.source | fence }}python
{{ cell.source }}
{{ cell.source | fence }}
{% endif -%}
{% endblock input -%}
{%- block stream %}
{{ output.text | fence }}{{ resources.output_language }}
{{ output.text | strip_ansi | trim('\n') }}
{{ output.text | fence }}
{% endblock stream -%}
{%- block data_text scoped %}
{{ output.data['text/plain'] | fence }}{{ resources.output_language }}
{{ output.data['text/plain'] | strip_ansi }}
{{ output.data['text/plain'] | fence }}
{% endblock data_text -%}
{%- block data_html scoped %}
{{ output.data['text/html'] | plain_table }}
{% endblock data_html -%}
"""


def notebooks() -> list[Path]:
    "Every notebook of the book; names that start with `_` or `.` are no part of it."
    found = (path for path in NBS.rglob("*.ipynb") if not any(p[0] in "_." for p in path.relative_to(NBS).parts))
    return sorted(found)


def is_figure(path: Path) -> bool:
    "Whether the notebook draws a figure or a table of a paper."
    return NAME.fullmatch(path.stem) is not None


def title_and_claim(path: Path) -> tuple[str, str]:
    "The notebook's first heading and the `>` line below it."
    source = next((c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"), "")
    heading = re.search(r"^# +(.+)$", source, flags=re.MULTILINE)
    claim = re.search(r"^((?:> ?.*\n?)+)", source, flags=re.MULTILINE)
    quoted = " ".join(line.lstrip("> ") for line in claim.group(1).splitlines()) if claim else ""
    return (heading.group(1).strip() if heading else path.stem), quoted.strip()


def fence(text: str) -> str:
    "A code fence longer than any inside `text`."
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))


def plain_table(html: str) -> str:
    "HTML output without what a page's own style should decide."
    html = re.sub(r"<style[^>]*>.*?</style>", "", html, flags=re.DOTALL)
    html = re.sub(r' (?:border="1"|class="dataframe"|style="text-align: right;")', "", html)
    return re.sub(r"\n\s*\n", "\n", html).strip()


def apply_directives(notebook: nbformat.NotebookNode) -> None:
    "Drop what nbdev's directives hide, and the directives themselves."
    kept = []
    for cell in notebook.cells:
        found = dict(DIRECTIVE.findall(cell.source)) if cell.cell_type == "code" else {}
        if "hide" in found or "default_exp" in found or found.get("include") == "false":
            continue
        cell.source = DIRECTIVE.sub("", cell.source).strip("\n")
        if found.get("output") == "false":
            cell.outputs = []
        if found.get("echo") == "false":
            cell.metadata["hide_input"] = True
        if cell.source or cell.get("outputs"):
            kept.append(cell)
    notebook.cells = kept


def rewrite_links(
    markdown: str,
    home: str,  # the notebook's folder, from the root
    link: Callable[[str], str],  # a path from the root -> what the page should link to
) -> str:
    "Replace the relative links of a text."

    def replace(match: re.Match) -> str:
        target, mark, anchor = match["target"].partition("#")
        if not target or target.startswith("/") or re.match(r"[a-z][a-z0-9+.-]*:", target, flags=re.IGNORECASE):
            return match[0]
        target = posixpath.normpath(posixpath.join(home, target))
        if not (ROOT / target).exists():
            raise ValueError(f"a notebook in {home} links to {target}, which does not exist")
        return match["before"] + link(target) + mark + anchor

    return LINK.sub(replace, markdown)


def to_markdown(
    path: Path,  # the notebook
    link: Callable[[str], str],  # a path from the root -> what the page should link to
    pictures: str,  # folder of the output pictures, as the page names it
    output_language: str = "text",  # what stands behind the fence of an output
) -> tuple[str, dict[str, bytes]]:  # the page and its output pictures by file name
    "Convert one notebook with its stored outputs."
    notebook = nbformat.read(path, as_version=4)
    apply_directives(notebook)
    home = path.parent.relative_to(ROOT).as_posix()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = rewrite_links(cell.source, home, link)
    exporter = MarkdownExporter(extra_loaders=[DictLoader({"page": TEMPLATE})], template_file="page")
    exporter.register_filter("fence", fence)
    exporter.register_filter("plain_table", plain_table)
    resources = {
        "output_language": output_language,
        "output_files_dir": pictures,
        "unique_key": re.sub(r"^\d+_", "", path.stem),
    }
    text, resources = exporter.from_notebook_node(notebook, resources)
    files = {posixpath.basename(name): data for name, data in resources.get("outputs", {}).items()}
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", files
