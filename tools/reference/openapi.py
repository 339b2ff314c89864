"""The OpenAPI description of the admin routes, as the server serves it at `/api/openapi.json`."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from keywright import bootstrap
from keywright.web.app import create_app
from tests.web.route_table import RULES
from tools.reference.tables import code
from tools.reference.tables import table as make

_BENEATH: Final = "/api/admin/"
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_TYPED: Final = re.compile(r"\{(\w+):\w+\}")


class _NoEngine:
    """Nothing is launched: only the routes are looked at."""

    def launch(self) -> None:
        raise RuntimeError("the description needs no engine")

    def is_alive(self) -> bool:
        return False

    def stop(self) -> None:
        raise RuntimeError("there is nothing to stop")


@cache
def described() -> dict[str, Any]:
    """The description, from a server that is built and never started."""
    with TemporaryDirectory() as folder:
        settings = bootstrap.read_settings(
            _env_file=None, data_dir=Path(folder), app_base_url="http://localhost:8000"
        )
        database = bootstrap.open_database(settings)
        try:
            bootstrap.prepare(settings, database)
            return create_app(bootstrap.build(settings, database), _NoEngine()).openapi_schema.to_schema()
        finally:
            database.dispose()


def document() -> str:
    """The file: sorted, so that a change shows as what changed."""
    return json.dumps(described(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def table() -> str:
    """Every described route: which scope its token needs, what it takes, what it answers with."""
    rows = [
        [
            code(f"{method.upper()} {path.removeprefix(_BENEATH)}"),
            code(_scopes()[f"{method.upper()} {path}"]),
            ", ".join(code(one["name"]) for one in operation.get("parameters", []) if one["in"] == "query"),
            _body(operation),
            _answer(operation["responses"]),
        ]
        for path, operations in sorted(described()["paths"].items())
        for method, operation in operations.items()
        if method in _METHODS
    ]
    return make(["route", "scope", "query", "body", "answer"], rows)


@cache
def _scopes() -> dict[str, str]:
    """Method and path -> the scope, as the route table holds it and tests prove it."""
    return {
        _TYPED.sub(r"{\1}", rule.name): rule.credential.removeprefix("token:")
        for rule in RULES.values()
        if rule.credential.startswith("token:")
    }


def _body(operation: dict[str, Any]) -> str:
    """The members of a body; what has to be there is bold."""
    if "requestBody" not in operation:
        return ""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    shape = described()["components"]["schemas"][_name(schema)]
    needed = shape.get("required", [])
    members = [f"**{code(name)}**" if name in needed else code(name) for name in shape["properties"]]
    return ", ".join(members)


def _answer(responses: dict[str, Any]) -> str:
    """The status of success, and the shape of what comes with it."""
    status = min(responses)
    media = responses[status].get("content", {}).get("application/json", {})
    return f"{status} {code(_name(media.get('schema', {})))}".strip()


def _name(schema: dict[str, Any]) -> str:
    """The shape that a schema names; the first one where it offers several."""
    for one in (schema, schema.get("items", {}), *schema.get("oneOf", ())):
        if "$ref" in one:
            return str(one["$ref"]).rsplit("/", 1)[-1]
    return ""
