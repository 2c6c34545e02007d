"""Bringing a database to the schema of this version.

A migration expands first and contracts a release later, so that the version that runs and the one
before it both work on the schema: several processes can be replaced one by one.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from counterfoil.core.errors import SettingsError

_FOLDER = Path(__file__).parent / "migrations"


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    # The file format of the configuration takes a single percent sign for the start of a name.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def wanted() -> str:
    """Return the revision that this version of the program works on."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there is at least one migration"  # noqa: S101  # for mypy
    return head


def current(connection: sa.Connection) -> str | None:
    """Return the revision of a database, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: sa.Connection) -> None:
    """Bring a database to `wanted()`; does nothing to one that is there."""
    command.upgrade(_config(connection), "head")


def is_current(connection: sa.Connection) -> bool:
    """Tell whether the schema is this version's, or an older one; raises SettingsError if newer."""
    revision = current(connection)
    if revision == wanted():
        return True
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        message = (
            f"The database has schema {revision}, which this version does not know: it was made "
            "by a newer Counterfoil. Run that version."
        )
        raise SettingsError("unknown_schema", message)
    return False


def check(connection: sa.Connection) -> None:
    """Raise SettingsError where the schema is not the one this version works on."""
    if is_current(connection):
        return
    revision = current(connection)
    state = "has no tables yet" if revision is None else f"has the older schema {revision}"
    message = f"The database {state}. Run `counterfoil migrate`, then start again."
    raise SettingsError("old_schema", message)
