"""The data folder, and the secret key that seals what is secret in the database."""

import os
from contextlib import suppress
from pathlib import Path

from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Entropy
from counterfoil.db import merchants
from counterfoil.db.engine import Connection, Database
from counterfoil.db.vault import Vault, make_key
from counterfoil.settings import Settings, read_secret_key

_FOLDER_MODE = 0o700
_KEY_MODE = 0o600


def make_folder(path: Path) -> None:
    """Make a folder of our own where there is none; raises SettingsError."""
    try:
        path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        message = f"The data folder {path} cannot be made: {error.strerror}."
        raise SettingsError("no_data_folder", message) from None


async def open_vault(settings: Settings, database: Database, entropy: Entropy) -> Vault:
    """Return the vault under this database's secret key, which is made at the very first start.

    Raises SettingsError where the key is another one, or is missing.
    """
    vault = await check_vault(settings, database) or Vault(_make_key_file(settings, entropy))

    def ensure_check(connection: Connection) -> str:
        known = merchants.get_key_check(connection)
        return known or merchants.keep_key_check(connection, vault.make_check())

    vault.decrypt(await database.write(ensure_check))
    return vault


async def check_vault(settings: Settings, database: Database | None) -> Vault | None:
    """Return the vault as it can be opened now, None where the first start will make a key.

    Without a database the key is looked at alone. Raises SettingsError where it is another one than
    the database was made with, or is missing.
    """
    check = None if database is None else await database.read(merchants.get_key_check)
    if check is not None:
        return open_with(settings, check)
    key = read_secret_key(settings)
    if key is not None:
        return _vault(settings, key)
    if settings.sqlite_file is None:
        message = (
            "On PostgreSQL the secret key must be given, and the same to every process: set "
            "COUNTERFOIL_SECRET_KEY or COUNTERFOIL_SECRET_KEY_FILE. `counterfoil secret-key` "
            "prints a new one."
        )
        raise SettingsError("no_secret_key", message)
    return None


def open_with(settings: Settings, check: str) -> Vault:
    """Return the vault that opens a stored check value.

    Raises SettingsError where the secret key is another one, or is missing.
    """
    key = read_secret_key(settings)
    if key is None:
        message = (
            "The secret key that this database was made with is missing. Put the file back to "
            f"{settings.secret_key_file}, or set COUNTERFOIL_SECRET_KEY."
        )
        raise SettingsError("no_secret_key", message)
    vault = _vault(settings, key)
    vault.decrypt(check)
    return vault


def _vault(settings: Settings, key: str) -> Vault:
    try:
        return Vault(key)
    except SettingsError as error:
        is_set = settings.secret_key is not None
        where = settings.name_of("secret_key") if is_set else str(settings.secret_key_file)
        message = (
            f"The secret key in {where} is none: it must be 32 bytes in URL-safe base64 (44 "
            "characters), as `counterfoil secret-key` prints them."
        )
        raise SettingsError(error.code, message) from None


def new_key() -> str:
    """Return a new secret key."""
    return make_key()


def _make_key_file(settings: Settings, entropy: Entropy) -> str:
    """Make the secret key's file, unless another process has just done so; return the key."""
    make_folder(settings.data)
    path = settings.secret_key_file
    fresh = path.with_name(f"{path.name}.{entropy.token(4).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_MODE)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{make_key()}\n")
            file.flush()
            os.fsync(descriptor)
        # Unlike a rename, a link fails where the name is taken: the first one wins.
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
        fresh.unlink()
    except OSError as error:
        message = f"The secret key cannot be written to {path}: {error.strerror}."
        raise SettingsError("secret_key_unwritable", message) from None
    key = read_secret_key(settings)
    if key is None:
        raise SettingsError("secret_key_unreadable", f"The secret key in {path} has vanished.")
    return key
