"""Lets the API pages show docments: the comment beside a parameter, a return type or a field describes it."""

import ast
import io
import re
import textwrap
import tokenize

import griffe


def comments(source: str) -> dict[int, str]:
    "The comment at the end of each line, by line number from 1."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}


def described(node: ast.FunctionDef | ast.AsyncFunctionDef, notes: dict[int, str]) -> tuple[dict[str, str], str]:
    "The comments of the arguments, by name, and of the returned value."
    spec = node.args
    listed = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    starred = [(f"*{spec.vararg.arg}", spec.vararg)] if spec.vararg else []
    starred += [(f"**{spec.kwarg.arg}", spec.kwarg)] if spec.kwarg else []
    named = [(arg.arg, arg) for arg in listed] + starred
    if len({arg.lineno for _, arg in named}) < len(named) or (named and named[-1][1].lineno == node.lineno):
        named = []  # several on one line: the comment there belongs to none of them
    arguments = {label: notes[arg.lineno] for label, arg in named if arg.lineno in notes}
    head_end = node.returns.end_lineno if node.returns else 0
    last_argument = max((arg.lineno for _, arg in named), default=0)
    returned = notes.get(head_end, "") if head_end > last_argument and head_end < node.body[0].lineno else ""
    return arguments, returned


def sections(arguments: dict[str, str], returned: str) -> str:
    "The comments in the form that the page's parser reads."
    text = ""
    if arguments:
        text += "\n\nArgs:\n" + "\n".join(f"    {label}: {note}" for label, note in arguments.items())
    return text + (f"\n\nReturns:\n    {returned}" if returned else "")


class Docments(griffe.Extension):
    "Extends the docstrings while griffe reads the source."

    def on_module(self, *, mod: griffe.Module, **kwargs) -> None:
        "A module's docstring is its notebook's claim, whose links are relative to the notebook: keep their words."
        if mod.docstring is not None:
            mod.docstring.value = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", mod.docstring.value)

    def on_function(self, *, func: griffe.Function, **kwargs) -> None:
        "Append the comments of a function to its docstring."
        if func.docstring is None:
            return
        source = textwrap.dedent("\n".join(func.lines))
        [parsed] = ast.parse(source).body
        func.docstring.value += sections(*described(parsed, comments(source)))

    def on_attribute(self, *, attr: griffe.Attribute, **kwargs) -> None:
        "The comment beside a constant of a module describes it."
        if attr.docstring is None and attr.parent.is_module and (note := self.note(attr)):
            attr.docstring = griffe.Docstring(note, parent=attr)

    def on_class_members(self, *, cls: griffe.Class, **kwargs) -> None:
        "The comments beside the fields of a class become one table."
        fields = {
            name: self.note(item) for name, item in cls.members.items() if item.is_attribute and not item.docstring
        }
        listed = "\n".join(f"    {name}: {note}" for name, note in fields.items() if note and not name.startswith("_"))
        if cls.docstring is not None and listed:
            cls.docstring.value += f"\n\nAttributes:\n{listed}"

    def on_module_members(self, *, mod: griffe.Module, **kwargs) -> None:
        "A function that `@patch` adds to a class is shown as a method of it."
        for name, item in list(mod.members.items()):
            if (
                item.is_alias
                or not item.is_function
                or not any(str(d.value).startswith("patch") for d in item.decorators)
            ):
                continue
            home = mod.members.get(str(item.parameters[0].annotation))
            if home is not None and not home.is_alias and home.is_class:
                del mod.members[name]
                item.parameters[0].annotation = None
                home.set_member(name, item)

    def note(self, attr: griffe.Attribute) -> str:
        "The comment at the end of an assignment."
        if attr.lineno is None or not attr.lines:
            return ""
        try:
            return " ".join(comments(textwrap.dedent("\n".join(attr.lines))).values())
        except (tokenize.TokenError, IndentationError):
            return ""
