"""The second wall, on PostgreSQL: a request of one tenant sees and writes no row of another.

The first wall is that every statement names its tenant. Here the database sees to it as well: inside
`within` each transaction runs as a role that may not do everything, with the tenant set, and the policies of
the tables leave it that tenant's rows. A condition that somebody forgot then finds nothing, instead of
somebody's rows.

It is the request that is walled, and not what a handler remembers to ask for: whoever lets somebody in calls
`enter`, and from there on everything is inside. What belongs to the installation says so, by `lifted`.
SQLite has no roles: there the first wall is the only one. Why it is so, and what is outside: docs/adr/0064.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final

import sqlalchemy as sa
from psycopg.pq import TransactionStatus

ROLE: Final = "keywright_tenant"
_MARK: Final = "keywright.walled"

_tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


def tenant() -> str | None:
    """Whose requests the transactions that begin now are; None: the installation's own."""
    return _tenant.get()


def enter(id_: str) -> None:
    """From here on, until the request ends, everything is this tenant's."""
    _tenant.set(id_)


@contextmanager
def within(id_: str) -> Iterator[None]:
    """Everything in here is this tenant's."""
    held = _tenant.set(id_)
    try:
        yield
    finally:
        _tenant.reset(held)


@contextmanager
def lifted() -> Iterator[None]:
    """Transactions that begin in here are the installation's: what they do is not about one tenant."""
    held = _tenant.set(None)
    try:
        yield
    finally:
        _tenant.reset(held)


def begin_request() -> Token[str | None]:
    """Nobody is known yet. `end_request` takes what this returns."""
    return _tenant.set(None)


def end_request(held: Token[str | None]) -> None:
    _tenant.reset(held)


# -- transactions ---------------------------------------------------------------------------------------

_SET = sa.text("SELECT set_config('role', :role, true), set_config('keywright.tenant', :tenant, true)")
_ROLE = sa.text("SELECT set_config('role', :role, true)")


def shut(connection: sa.Connection, id_: str) -> None:
    """Wall this transaction. What is set ends with it, so that no connection goes back to its pool so."""
    connection.info[_MARK] = id_
    connection.execute(_SET, {"role": ROLE, "tenant": id_})


def opened(connection: sa.Connection) -> None:
    """This transaction is at its end."""
    connection.info.pop(_MARK, None)


@contextmanager
def lifted_on(connection: sa.Connection) -> Iterator[None]:
    """For what a walled transaction has to write for the installation: with the owner's rights.

    Costs nothing in a transaction that is not walled.
    """
    if _MARK not in connection.info:
        yield
        return
    held = connection.info.pop(_MARK)
    connection.execute(_ROLE, {"role": "none"})
    try:
        yield
    finally:
        connection.info[_MARK] = held
        # After an error of the database there is nothing left to protect: it takes no statement any more.
        driver: Any = connection.connection.driver_connection
        if driver.info.transaction_status == TransactionStatus.INTRANS:
            connection.execute(_ROLE, {"role": ROLE})


# -- the role, the rights and the policies --------------------------------------------------------------

_SHARED: Final = {
    "tenants": "SELECT, UPDATE",
    "generations": "SELECT, UPDATE",
    "staff_tries": "SELECT, INSERT, UPDATE, DELETE",
}
"""Tables without a tenant that requests of one need. `tenants` has a policy on its own id."""

_MAKE_ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'keywright_tenant') THEN
    CREATE ROLE keywright_tenant NOLOGIN;
  END IF;
EXCEPTION
  -- Another database of this server makes it at this moment; or this owner may make none.
  WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$
"""
_JOIN_ROLE = """
DO $$ BEGIN
  EXECUTE 'GRANT keywright_tenant TO ' || quote_ident(current_user);
EXCEPTION
  -- Not ours to give; or given at this moment by another database of this server.
  WHEN undefined_object OR insufficient_privilege OR unique_violation OR internal_error
    OR invalid_grant_operation THEN NULL;
END $$
"""

# Whether the owner may become the role. Before PostgreSQL 16 every member may.
_MAY_BECOME = """
SELECT coalesce((SELECT pg_has_role(current_user, oid,
  CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
  FROM pg_roles WHERE rolname = 'keywright_tenant'), false)
"""

# Tables of one tenant each, and whether they have the policy and the role its rights.
_STANDING = """
SELECT c.relname, c.relrowsecurity
    AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'one_tenant')
    AND has_table_privilege('keywright_tenant', c.oid, 'SELECT')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND (c.relname = 'tenants'
    OR EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
  ORDER BY c.relname
"""


def build(connection: sa.Connection) -> None:
    """Make what is missing of the wall, or leave it where this owner has no right to.

    After every migration, so that a new table has its policy, and a database that was restored under another
    server, or whose owner got the right later, its wall. Costs two reads where nothing is missing.
    """
    if connection.dialect.name == "sqlite":
        return
    if not may_become(connection):
        connection.exec_driver_sql(_MAKE_ROLE)
    if not may_become(connection):
        connection.exec_driver_sql(_JOIN_ROLE)
    if not may_become(connection):
        return
    missing = [name for name, is_there in connection.exec_driver_sql(_STANDING) if not is_there]
    for name in missing:
        _wall_in(connection, name)
    if missing:
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {_schema(connection)} TO {ROLE}")
        for name, rights in _SHARED.items():
            if sa.inspect(connection).has_table(name):
                connection.exec_driver_sql(f"GRANT {rights} ON {name} TO {ROLE}")


def _wall_in(connection: sa.Connection, table: str) -> None:
    own = "id" if table == "tenants" else "tenant_id"
    mine = f"({own} = current_setting('keywright.tenant', true))"
    condition = f"USING {mine} WITH CHECK {mine}"
    for statement in (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        # Who else was given rights, to watch with SQL, goes on seeing what he saw.
        f"DROP POLICY IF EXISTS everybody ON {table}",
        f"CREATE POLICY everybody ON {table} USING (true)",
        f"DROP POLICY IF EXISTS one_tenant ON {table}",
        f"CREATE POLICY one_tenant ON {table} AS RESTRICTIVE TO {ROLE} {condition}",
    ):
        connection.exec_driver_sql(statement)
    if table != "tenants":
        connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {ROLE}")


def _schema(connection: sa.Connection) -> str:
    name = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    return str(name)


def may_become(connection: sa.Connection) -> bool:
    """Whether this owner may take the role on."""
    return bool(connection.exec_driver_sql(_MAY_BECOME).scalar_one())


def statements(connection: sa.Connection) -> tuple[str, str]:
    """What somebody who may make roles has to run, where this owner may not."""
    owner = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    return f"CREATE ROLE {ROLE} NOLOGIN", f"GRANT {ROLE} TO {owner}"


def missing(connection: sa.Connection) -> list[str] | None:
    """The tables without a policy; None where there is no role that this owner may take on."""
    if not may_become(connection):
        return None
    return [str(name) for name, is_there in connection.exec_driver_sql(_STANDING) if not is_there]
