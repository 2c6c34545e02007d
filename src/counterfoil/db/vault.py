"""Secrets at rest: what is stored of webhook secrets, tokens and view keys.

Fernet tokens (AES-128-CBC with HMAC-SHA256) under one key or several: the first encrypts, all of
them decrypt, so a key is rotated by putting the new one in front.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from counterfoil.core.errors import SettingsError

_CHECK = b"counterfoil"


class Vault:
    """Encrypts and decrypts with the server's secret key."""

    def __init__(self, keys: str) -> None:
        """Take one or more Fernet keys with commas between them, the newest first."""
        try:
            self._fernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",")])
        except ValueError:
            message = (
                "secret_key must be 32 bytes in URL-safe base64 (44 characters). "
                "`counterfoil doctor` shows where it is read from."
            )
            raise SettingsError("invalid_secret_key", message) from None

    def encrypt(self, text: str) -> str:
        """Return what may be stored of `text`."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the text that was encrypted; raises SettingsError if the key is another."""
        try:
            return self._fernet.decrypt(stored.encode()).decode()
        except InvalidToken:
            message = (
                "The secret key does not open this database. Put back the key that it was made "
                "with (secret.key in the data folder, or COUNTERFOIL_SECRET_KEY)."
            )
            raise SettingsError("wrong_secret_key", message) from None

    def make_check(self) -> str:
        """Return a value that only this key opens, to be stored and tried at every start."""
        return self._fernet.encrypt(_CHECK).decode()


def make_key() -> str:
    """Return a new secret key."""
    return Fernet.generate_key().decode()
