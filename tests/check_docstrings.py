"""What every public docstring of the package owes its reader, as far as a program can see: part of `make lint`.

Errors that a function raises by itself are named under "Raises:". Where tensors go in, a shape in brackets says which. In the
modules of mathematics there is a formula or a mapping (=, <-, ->) and each class and function names what it returns or does.
"""

import ast
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "t2vlearn"
MATHEMATICS = {"attention", "diffusion", "denoiser", "codec", "optim", "text", "evaluation"}
SHAPE = re.compile(r"\((?:\.\.\.|[a-zA-Z0-9_]+)(?:[ ,][^()]*)?\)|\bshape")
FORMULA = re.compile(r"=|<-|->|\bmean of\b|\b\|")


def public(tree):
    """(name, node, docstring of the class around it) of public functions, methods and classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node, ""
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and (
                        not method.name.startswith("_") or method.name in ("__init__", "__call__")
                    ):
                        yield f"{node.name}.{method.name}", method, ast.get_docstring(node) or ""


def problems(path):
    """What is missing in one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, node, around in public(tree):
        text = ast.get_docstring(node) or around
        if not isinstance(node, ast.FunctionDef):
            continue
        if name.endswith(".__init__"):
            text = around
        for line in ast.walk(node):
            if isinstance(line, ast.Raise) and isinstance(line.exc, ast.Call) and isinstance(line.exc.func, ast.Name):
                error = line.exc.func.id
                if error.startswith("_") or error.endswith("DirectoryError"):  # made, or caught, on the spot
                    continue
                if "Raises:" not in text or f"{error}:" not in text.split("Raises:")[1]:
                    yield f"{name} raises {error} and does not say so under 'Raises:'"
        arguments = [*node.args.args, *node.args.kwonlyargs]
        tensors = [a.arg for a in arguments if a.annotation is not None and ast.unparse(a.annotation) == "Tensor"]
        own = text + around
        if path.stem in MATHEMATICS and tensors and not SHAPE.search(own):
            yield f"{name} takes tensors ({', '.join(tensors)}) and gives no shape"
        if path.stem in MATHEMATICS and tensors and not FORMULA.search(own):
            yield f"{name} has neither a formula nor a mapping"


if __name__ == "__main__":
    found = [
        f"{path.relative_to(PACKAGE.parent)}: {problem}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "cli"  # its docstrings are what --help prints
        for problem in problems(path)
    ]
    if found:
        sys.exit("\n".join(found))
