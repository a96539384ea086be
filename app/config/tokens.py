"""The admin port's token: from a variable, or from a file that may change.

Read by `app.admin.auth`, which demands it, and by `app.operator` and `leastwise top`, which bring
it. The token itself is never written anywhere: not to an answer, a log or an error.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from app.config.errors import ConfigError, Problem
from app.config.fields import Token, broken_token
from app.config.settings import variable

log = logging.getLogger(__name__)


class NamesToken(Protocol):
    """Settings that may name a token."""

    @property
    def admin_token(self) -> SecretStr | None:
        """The token itself."""

    @property
    def admin_token_file(self) -> Path | None:
        """The file that holds it."""


class TokenFile:
    """A token in a file, such as a mounted Secret: read at each use, since it may be changed."""

    def __init__(self, path: Path) -> None:
        """Read it for the first time. Raises `ConfigError`."""
        self._path = path
        self._complained = False
        self._token = self._read()

    def __call__(self) -> str:
        """Return the token; the last good one if the file cannot be read any more."""
        try:
            self._token = self._read()
        except ConfigError as error:
            if not self._complained:
                log.error("the last good admin token stays in force: %s", error)  # noqa: TRY400
            self._complained = True
        else:
            self._complained = False
        return self._token

    def _read(self) -> str:
        try:
            token = self._path.read_text("ascii").strip()
        except OSError as error:
            found = error.strerror or "an error"
        except ValueError:
            found = "bytes that are not ASCII"
        else:
            wrong = broken_token(token)
            if wrong is None:
                return token
            found = wrong
        problem = Problem(str(self._path), variable("admin_token_file"), found, Token().allowed)
        raise ConfigError([problem])


def token_of(settings: NamesToken) -> Callable[[], str] | None:
    """Return what tells the token in force, or None if there is none. Raises `ConfigError`."""
    if settings.admin_token_file is not None:
        return TokenFile(settings.admin_token_file)
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value
    return None


def token_at(path: Path | None) -> Callable[[], str | None]:
    """Return what tells the token of a reader who has no settings: `leastwise top`.

    It is in the file, or without one in the variable; else there is none. Raises `ConfigError`.
    """
    if path is not None:
        return TokenFile(path)
    given = os.environ.get(variable("admin_token")) or None
    return lambda: given
