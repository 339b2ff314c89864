"""Finds every statement in the code, and says which of them name no tenant.

Read from the syntax tree, so that also those are found which no test asks. A statement is what begins with
`sa.select`, `sa.update` or `sa.delete`, a `rows.update`, or a text with SQL in it. What a variable, a
constant of the module or a function of the module adds to it counts as part of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from keywright.store import tables

OWNED = frozenset(t.name for t in tables.metadata.tables.values() if "tenant_id" in t.c)
FREE = frozenset(tables.metadata.tables) - OWNED

KEYS = frozenset(
    {
        *("tenant_id", "customer_tenant_id"),
        # A provider account is one tenant's, and one connected to it says by whom.
        *("provider_account_id", "connected_by"),
        # The keyed hash of a secret: who shows the secret is who it was given to.
        *("hash", "key_hash", "claim_hash"),
    }
)
"""Columns that name a tenant, or something that is one tenant's alone."""

_TABLE = re.compile(r"\b(?:FROM|JOIN|UPDATE|TABLE)\s+([a-z_]+)\b")
_ANY = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\b")
_NAMED = re.compile(rf"\b(?:{'|'.join(sorted(KEYS))})(?:, [a-z_]+)*\)?\s*(?:=|IN\b)")
_HEADS = ("select", "update", "delete")


class Statement(NamedTuple):
    """`place`: `module.function`. `tables`: what it reads or changes; `?` where that is told at run time."""

    place: str
    line: int
    tables: frozenset[str]
    is_bound: bool

    @property
    def needs_tenant(self) -> bool:
        return not self.is_bound and not self.tables <= FREE


def statements(root: Path) -> list[Statement]:
    """Every statement of the modules beneath a folder, migrations apart."""
    found: list[Statement] = []
    for path in sorted(root.rglob("*.py")):
        if "migrations" not in path.parts:
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found.extend(of_source(name, path.read_text()))
    return found


def of_source(module: str, source: str) -> Iterator[Statement]:
    yield from _Module(module, ast.parse(source)).statements()


Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Module:
    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name = name
        self.tree = tree
        self.functions = {n.name: n for n in ast.walk(tree) if isinstance(n, Function)}
        self.constants = _assignments(tree.body)
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.tables = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keywright.store")
            for alias in node.names
        }

    def statements(self) -> Iterator[Statement]:
        seen: set[ast.AST] = set()
        for node in ast.walk(self.tree):
            if not self._begins(node):
                continue
            whole = self._whole(node)
            if whole in seen:
                continue
            seen.add(whole)
            function = self._function(node)
            if function is None or self._is_part(function, whole):
                continue  # it counts where it is used, and there it is found by its name
            judged = self._judge(function, whole, node)
            if judged.tables:
                yield judged

    def _begins(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name):
                if owner.id == "sa" and node.func.attr in _HEADS:
                    return True
                if owner.id == "rows" and node.func.attr == "update":
                    return "rows" in self.tables  # the module, not a variable of this name
            # A text that is not written here: a constant of the module, perhaps formatted.
            return isinstance(owner, ast.Name) and owner.id == "sa" and node.func.attr == "text"
        return False

    def _whole(self, node: ast.AST) -> ast.AST:
        """The simple statement of Python that this stands in."""
        while not isinstance(node, ast.stmt):
            if isinstance(self.parents[node], ast.For | ast.With | ast.If | ast.While):
                return node
            node = self.parents[node]
        return node

    def _function(self, node: ast.AST) -> Function | None:
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, Function):
                return node
        return None

    def _is_part(self, function: Function, whole: ast.AST) -> bool:
        """Whether another statement of the function, which names its tenant, is made with this one."""
        for node in ast.walk(function):
            if self._begins(node) and (other := self._whole(node)) is not whole:
                parts = self._parts(function, other)
                if whole in parts and any(_binds(part) for part in parts if part is not whole):
                    return True
        return False

    def _judge(self, function: Function, whole: ast.AST, head: ast.AST) -> Statement:
        parts = self._parts(function, whole)
        found: set[str] = set()
        for part in parts:
            found |= self._tables(part)
        if not found and (_is_core(head) or any(_has_words(part) for part in parts)):
            found = {"?"}
        place = f"{self.name}.{function.name}"
        line = getattr(head, "lineno", 0)
        return Statement(place, line, frozenset(found), any(_binds(part) for part in parts))

    def _parts(self, function: Function, whole: ast.AST) -> list[ast.AST]:
        """The statement with everything that is named in it, and all that is later added to its variable."""
        local = _assignments(ast.walk(function))
        parts: list[ast.AST] = []
        todo: list[ast.AST] = [whole]
        for name in _targets(whole):
            todo.extend(local.get(name, []))
            todo.extend(node for node in ast.walk(function) if _root(node) == name)
        used: set[str] = set()
        while todo:
            part = todo.pop()
            parts.append(part)
            for node in ast.walk(part):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in used:
                    used.add(node.id)
                    todo.extend(local.get(node.id) or self.constants.get(node.id, []))
                    if node.id in self.functions and node.id not in local:
                        todo.append(self.functions[node.id])
        return parts

    def _tables(self, part: ast.AST) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(part):
            if isinstance(node, ast.Name):
                name = self.tables.get(node.id, "")
                found |= {name} & tables.metadata.tables.keys()
            elif isinstance(node, ast.Attribute) and node.attr in tables.metadata.tables:
                if isinstance(node.value, ast.Name) and node.value.id.endswith("tables"):
                    found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(_TABLE.findall(node.value)) & tables.metadata.tables.keys()
                found |= {node.value} & tables.metadata.tables.keys()
        return found


def _assignments(nodes: Iterable[ast.AST]) -> dict[str, list[ast.AST]]:
    found: dict[str, list[ast.AST]] = {}
    for node in nodes:
        for name in _targets(node):
            found.setdefault(name, []).append(node)
    return found


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Assign):
        kept = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For):
        kept = [node.target]
    else:
        return []
    return [n.id for target in kept for n in ast.walk(target) if isinstance(n, ast.Name)]


def _root(node: ast.AST) -> str | None:
    """The variable that a chain of calls begins with: `query` of `query.where(...).limit(1)`."""
    if not isinstance(node, ast.Call):
        return None
    inner: ast.AST = node
    while isinstance(inner, ast.Call | ast.Attribute):
        inner = inner.func if isinstance(inner, ast.Call) else inner.value
    return inner.id if isinstance(inner, ast.Name) else None


def _binds(part: ast.AST) -> bool:
    for node in ast.walk(part):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq) and _is_tenant(node.left):
            return True
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "in_" and _is_tenant(called.value):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAMED.search(node.value):
            return True
    return False


def _is_tenant(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):  # `tenant_id + ""`, which keeps SQLite from an index
        node = node.left
    return isinstance(node, ast.Attribute) and node.attr in KEYS


def _is_core(head: ast.AST) -> bool:
    """Whether it is no text: its tables are values of Python."""
    return isinstance(head, ast.Call) and isinstance(head.func, ast.Attribute) and head.func.attr != "text"


def _has_words(part: ast.AST) -> bool:
    texts = (node.value for node in ast.walk(part) if isinstance(node, ast.Constant))
    return any(isinstance(text, str) and _ANY.search(text) for text in texts)
