"""Brings a database to this version's schema, or says why it must not be touched."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from gateway.errors import Refused
from gateway.store.errors import FOREIGN, NEWER

_LOCATION = Path(__file__).parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    result = Config()
    result.set_main_option("script_location", str(_LOCATION).replace("%", "%%"))
    if connection is not None:
        result.attributes["connection"] = connection
    return result


def head() -> str:
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package carries no migration")
    return revision


def upgrade(connection: Connection) -> None:
    """In the caller's transaction. Fails with store.newer_database or store.foreign_database."""
    script = ScriptDirectory.from_config(config())
    known = {revision.revision for revision in script.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_heads()
    unknown = [revision for revision in current if revision not in known]
    if unknown:
        raise Refused(NEWER(field="revision", got=",".join(unknown), allowed=f"up to {head()}"))
    if not current:
        tables = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
        if tables:
            raise Refused(FOREIGN(field="tables", got=",".join(sorted(tables)[:5])))
    if set(current) != {head()}:
        command.upgrade(config(connection), "head")
