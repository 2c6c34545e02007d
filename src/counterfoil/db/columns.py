"""What the tables are made of: their names of keys, and the kinds of their columns."""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts only INTEGER (AUTOINCREMENT, in the migrations); both hold 64 bits.
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def identity() -> sa.Column[int]:
    return sa.Column("id", BIG, sa.Identity(), primary_key=True)


def ref(name: str, target: str, *, null: bool = False, key: bool = False) -> sa.Column[int]:
    to = sa.ForeignKey(f"{target}.id")
    return sa.Column(name, BIG, to, nullable=null, primary_key=key, autoincrement=False)


def at(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


def number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def where(condition: str) -> dict[str, Any]:
    """Return what makes an index partial, in either dialect."""
    clause = sa.text(condition)
    return {"sqlite_where": clause, "postgresql_where": clause}
