"""Text that only this home can read back: encrypted with a key that lies beside the records. Knows no user."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken
from filelock import FileLock

from pumice.config import Home
from pumice.errors import InputError
from pumice.store.files import write_atomic


class Vault:
    """Encrypts and decrypts short texts. The key is `PUMICE_SECRET_KEY`, or a file that is made when first needed."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def close(self, text: str) -> str:
        """`text`, encrypted and authenticated."""
        return self._fernet(make=True).encrypt(text.encode()).decode()

    def open(self, closed: str) -> str:
        """What was closed. Raises `InputError` when the key is lost or another one."""
        try:
            return self._fernet(make=False).decrypt(closed).decode()
        except InvalidToken as error:
            raise InputError(
                f"{self._name()} is not the key that this secret was encrypted with.",
                "A signature can only be checked with the secret itself.",
                "Put the old key back, or revoke the API key and make another with `pumice keys create NAME`.",
            ) from error

    def _fernet(self, make: bool) -> Fernet:
        key = self._home.secret_key or self._read(make)
        try:
            return Fernet(key.strip())
        except ValueError as error:
            raise InputError(
                f"{self._name()} is no key.",
                "It must be 32 bytes in URL-safe base64, as in the file secret.key of another home.",
                "Put the old key back.",
            ) from error

    def _read(self, make: bool) -> str:
        path = self._home.secret_file
        if not make and not path.exists():
            raise InputError(
                f"{path} is gone, and with it every signing secret that was encrypted with it.",
                fix="Put the file back, or revoke the API key and make another with `pumice keys create NAME`.",
            )
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():  # another process may have been first
                    write_atomic(path, Fernet.generate_key(), private=True)
        return path.read_text()

    def _name(self) -> str:
        return "PUMICE_SECRET_KEY" if self._home.secret_key else str(self._home.secret_file)
