"""A copy of all that is stored; what is restored from one is in services/test_restoring.py."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from counterfoil.db.copies import Copy


def test_an_error_of_a_copy_shows_no_values(tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.touch()
    unknown = sa.text("SELECT :value FROM nowhere").bindparams(value="s3cret")
    with Copy(file, is_new=True) as copy, pytest.raises(sa.exc.OperationalError) as failed:
        copy.connection.execute(unknown)
    assert "s3cret" not in str(failed.value)
