"""The rules of the house: earlier rooms only, heavy libraries where they belong, nothing guessed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

# In the order in which data flows; a room imports only earlier ones.
ROOMS = """
    errors records config handbook store bases data engine train evaluate registry prompting plan teach pipeline jobs
    knowledge agents traffic doctor api deploy show show_deploy plot talk foreground sweep cli __main__
""".split()  # noqa: SIM905

# Which places (a room, or a path inside one) may import a library.
MAY_IMPORT = {
    "torch": (
        "engine/hf_child",
        "engine/hf_adapters",
        "engine/hf_classifier",
        "train/trainers",
        "train/loop",
        "train/ranks",
        "train/fast",
    ),
    "transformers": (
        "bases/unpack",
        "engine/hf_child",
        "engine/hf_classifier",
        "train/trainers",
        "train/loop",
        "train/fast",
    ),
    "peft": ("engine/hf_adapters", "train/trainers", "train/loop", "train/fast"),
    "trl": ("train/trainers", "train/fast"),
    "accelerate": ("train/trainers", "train/loop"),
    "xllamacpp": ("engine/llamacpp_child",),
    "tokenizers": ("data/render",),
    "jinja2": ("data/render",),
    "sqlalchemy": ("store", "registry", "jobs", "traffic", "api", "cli/shared"),
    "alembic": ("store",),
    "fastapi": ("api",),
    "starlette": ("api", "deploy/sagemaker/serve"),
    "cryptography": ("api",),
    "rich": ("show", "cli"),
    "typer": ("cli",),
    "botocore": ("api/aws", "deploy"),
    "boto3": ("deploy",),
    "matplotlib": ("plot",),
    "nanio": ("store/s3", "api/aws"),
}
LATE_IMPORTS = ("cli", "jobs/worker.py")
"""Places that may import inside a function."""
LIMITS = {"file": 500, "function": 100, "arguments": 10, "fields": 16, "rungs": 4}


def imports(tree: ast.Module, package: str, place: Path) -> Iterator[tuple[ast.stmt, str, bool]]:
    """Every import: the statement, the full name of its module, and whether it hides inside a function."""
    here = [package, *place.parts[:-1]]
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name, id(node) in hidden) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names] if source == package else [source]
            yield from ((node, name, id(node) in hidden) for name in names)


def rooms(tree: ast.Module, package: str, place: Path) -> Iterator[tuple[int, str]]:
    """Breaches of the order of the rooms and of who may import what."""
    room = place.with_suffix("").parts[0]
    if room not in ROOMS and not room.startswith("__"):
        yield 1, f"{room} is no room of the house; add it to ROOMS in its place, or find the room it belongs to."
    for node, name, _ in imports(tree, package, place):
        top, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if top == package and {other, room} <= set(ROOMS) and ROOMS.index(other) > ROOMS.index(room):
            yield node.lineno, f"{room} imports {other}, a later room."
        if top in MAY_IMPORT and not any(place.with_suffix("").is_relative_to(allowed) for allowed in MAY_IMPORT[top]):
            yield node.lineno, f"{place} imports {top}; only {', '.join(MAY_IMPORT[top])} may."


def shape(source: str, tree: ast.Module, package: str, place: Path) -> Iterator[tuple[int, str]]:
    """Breaches of size, and places where something is guessed, hidden or swallowed."""
    sizes = [(1, "file", "the file", len(source.splitlines()))]
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
                count = len([n for n in names if n not in ("self", "cls")])
                sizes.append((node.lineno, "arguments", node.name, count))
                sizes.append((node.lineno, "function", node.name, (node.end_lineno or 0) - node.lineno + 1))
            case ast.ClassDef():
                sizes.append((node.lineno, "fields", node.name, sum(isinstance(x, ast.AnnAssign) for x in node.body)))
            case ast.If():
                sizes.append((node.lineno, "rungs", "if/elif", rungs(node)))
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" as guess), args=[_, ast.Constant(), *_]):
                yield node.lineno, f"{guess} with a known name: declare the attribute instead."
            case ast.ExceptHandler(type=None | ast.Name(id="Exception" | "BaseException")):
                heard = (
                    isinstance(x, ast.Raise) or (isinstance(x, ast.Attribute) and x.attr == "exception")
                    for x in ast.walk(node)
                )
                if not any(heard):
                    yield node.lineno, "a broad except that neither raises nor logs the traceback."
    for line, rule, what, n in sizes:
        if n > LIMITS[rule]:
            yield line, f"{what} has {n} ({rule} limit {LIMITS[rule]})."
    for stmt, name, hidden in imports(tree, package, place):
        if hidden and not any(place.is_relative_to(late) for late in LATE_IMPORTS):
            yield stmt.lineno, f"imports {name} inside a function."


def rungs(node: ast.If) -> int:
    """Arms of an if/elif ladder, counted at its first rung; `else: if` does not count."""
    count = 1
    while len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If) and node.orelse[0].col_offset == node.col_offset:
        count, node = count + 1, node.orelse[0]
    return count


def breaches(root: Path) -> Iterator[str]:
    """Every breach under the package folder `root`, as `file:line: sentence`."""
    for path in sorted(root.rglob("*.py")):
        source, place = path.read_text(), path.relative_to(root)
        tree = ast.parse(source)
        found = [*shape(source, tree, root.name, place), *rooms(tree, root.name, place)]
        yield from (f"{place}:{line}: {message}" for line, message in sorted(found))
