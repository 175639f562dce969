"""Mutants that nobody chose: small changes of the syntax tree, drawn by a seed.

Every line that can be changed is as likely as any other. What people read only (messages, help,
progress, types) is left alone. Some changes mean the same as what they replace: whoever reads the
survivors has to judge.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from tools.mutants.listed import ROOT, Mutant, product_files

_OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "|",
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
_FOR_PEOPLE = {
    "help",
    "metavar",
    "desc",
    "unit",
    "description",
    "epilog",
    "label",
    "title",
    "color",
}
"""Keywords whose value nobody computes with."""
_WITHOUT_EFFECT = {"strict", "encoding", "kw_only", "frozen", "slots", "maxsize"}
"""Keywords that matter only where something else is wrong already."""

Change = tuple[ast.AST, str]
"""A node, and the text that takes its place."""


def draw(count: int, seed: int, only: str = "") -> list[Mutant]:
    """``count`` mutants of files whose path holds ``only``, fewer if there are fewer lines."""
    generator = random.Random(seed)
    lines = [
        (path, nodes)
        for path in product_files()
        if only in path.relative_to(ROOT).as_posix()
        for nodes in nodes_by_line(path.read_text(encoding="utf-8")).values()
    ]
    generator.shuffle(lines)
    mutants: list[Mutant] = []
    for path, nodes in lines:
        if len(mutants) == count:
            break
        changes = [change for node, names in nodes for change in changes_of(node, names)]
        if changes and (mutant := _mutant(path, *generator.choice(changes))) is not None:
            mutants.append(mutant)
    return mutants


def _mutant(path: Path, node: ast.AST, text: str) -> Mutant | None:
    """The change as whole lines that stand once in the file; None if it is none, or no Python."""
    if text == ast.unparse(node):
        return None
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    place = cast(ast.expr, node)
    first, last = place.lineno - 1, place.end_lineno or place.lineno
    # Columns of the syntax tree count bytes.
    data = source.encode()
    start = len("".join(lines[:first]).encode()) + place.col_offset
    end = len("".join(lines[: last - 1]).encode()) + (place.end_col_offset or 0)
    changed = (data[:start] + text.encode() + data[end:]).decode()
    try:
        ast.parse(changed)
    except SyntaxError:
        return None
    added = len(changed.splitlines()) - len(lines)
    while source.count(before := "".join(lines[first:last])) > 1 and first:
        first -= 1
    after = "".join(changed.splitlines(keepends=True)[first : last + added])
    file = path.relative_to(ROOT).as_posix()
    return Mutant(file=file, before=before, after=after)


def nodes_by_line(source: str) -> dict[int, list[tuple[ast.AST, tuple[str, ...]]]]:
    """Line -> what begins there and computes something; each with the parameters around it."""
    found: dict[int, list[tuple[ast.AST, tuple[str, ...]]]] = defaultdict(list)
    for node, names in _code(ast.parse(source), ()):
        found[node.lineno].append((node, names))  # type: ignore[attr-defined]
    return found


def _code(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """The nodes that compute something, each with the parameters of the function around it."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if (
                not isinstance(child, ast.AST)
                or isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom)
                or (isinstance(child, ast.keyword) and child.arg in _FOR_PEOPLE)
            ):
                continue
            inside = names
            if isinstance(child, ast.FunctionDef):
                arguments = child.args.posonlyargs + child.args.args + child.args.kwonlyargs
                inside = tuple(a.arg for a in arguments if a.arg not in ("self", "cls", "m"))
            if hasattr(child, "lineno"):
                yield child, inside
            if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
                continue
            if not isinstance(child, ast.Raise):
                yield from _code(child, inside)


def changes_of(node: ast.AST, names: tuple[str, ...]) -> Iterator[Change]:
    """All changes of a node; ``names``: what may stand in place of a parameter."""
    if isinstance(node, ast.expr | ast.Slice):
        yield from _changes_of_expression(node, names)
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield node, "pass"
        case ast.Break() | ast.Continue() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.While():
            yield node.test, f"not ({ast.unparse(node.test)})"
        case ast.If():
            yield node.test, f"not ({ast.unparse(node.test)})"
            yield node.test, "False"


def _changes_of_expression(node: ast.expr | ast.Slice, names: tuple[str, ...]) -> Iterator[Change]:
    match node:
        case ast.Compare():
            for i, _ in enumerate(node.ops):
                yield node, _other_comparison(node, i)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
            for value in node.values:
                rest = [v for v in node.values if v is not value]
                yield node, f"({ast.unparse(ast.BoolOp(node.op, rest))})"
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            sign = _ARITHMETIC[type(op)]
            yield node, f"({ast.unparse(node.left)} {sign} {ast.unparse(node.right)})"
            yield node, f"({ast.unparse(node.left)})"
        case ast.Constant():
            yield from ((node, text) for text in _other_constants(node.value))
        case ast.Call():
            yield from _changes_of_call(node)
        case ast.IfExp():
            yield node, f"({ast.unparse(node.body)})"
            yield node, f"({ast.unparse(node.orelse)})"
        case ast.Slice():
            yield from _changes_of_slice(node)
        case ast.Name(ctx=ast.Load()) if node.id in names:
            yield from ((node, name) for name in names if name != node.id)


def _other_constants(value: object) -> list[str]:
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(value + 1)] + [str(value - 1)] * (value > 0)
    return [repr(value * 2)] if isinstance(value, float) else []


def _changes_of_slice(node: ast.Slice) -> Iterator[Change]:
    if node.lower is not None:
        yield node, ast.unparse(ast.Slice(None, node.upper, node.step))
    if node.upper is not None:
        yield node, ast.unparse(ast.Slice(node.lower, None, node.step))


def _other_comparison(node: ast.Compare, at: int) -> str:
    """The comparison with its operator number ``at`` exchanged."""
    operators = [_OTHER[type(op)]() if i == at else op for i, op in enumerate(node.ops)]
    return f"({ast.unparse(ast.Compare(node.left, operators, node.comparators))})"


def _changes_of_call(node: ast.Call) -> Iterator[Change]:
    def with_(function: ast.expr, arguments: list[ast.expr], keywords: list[ast.keyword]) -> str:
        return ast.unparse(ast.Call(function, arguments, keywords))

    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg not in _FOR_PEOPLE | _WITHOUT_EFFECT:
            rest = [other for other in node.keywords if other is not keyword]
            yield node, with_(node.func, node.args, rest)
    for i in range(len(node.args) - 1):
        swapped = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
        yield node, with_(node.func, swapped, node.keywords)
    if isinstance(node.func, ast.Name) and node.func.id in _CALLED:
        other = ast.Name(_CALLED[node.func.id])
        keywords = [] if other.id == "list" else node.keywords
        yield node, with_(other, node.args, keywords)
