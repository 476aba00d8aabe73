"""API keys and roles. Only SHA-256 digests of keys are kept: a key has 256 random bits, so no slow hash."""

from __future__ import annotations

import enum
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from plinth_kit.settings import SettingsError

logger = logging.getLogger(__name__)

_RELOAD_SECONDS = 1.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Role(enum.IntEnum):
    """What a key may do. Each role includes those below it."""

    VIEWER = 1
    OPERATOR = 2
    APPROVER = 3
    ADMIN = 4

    @classmethod
    def parse(cls, name: str) -> Role:
        """The role of that lowercase name; ValueError where there is none."""
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(role.name.lower() for role in cls)
            raise ValueError(f"unknown role {name!r}; roles are {known}") from None


class Principal(msgspec.Struct, frozen=True):
    """Who sent a request."""

    name: str
    role: Role


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key in the file: its owner's name, the role's lowercase name, the key's SHA-256 as 64 hex digits."""

    name: str
    role: str
    sha256: str


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys file: `{"keys": [{"name": …, "role": …, "sha256": …}]}`."""

    keys: list[KeyEntry]


class KeyFileError(SettingsError):
    """The keys file cannot be used. Uncaught, it ends the process with one line that names file and entry."""


class KeyRing:
    """The known keys. A changed file is read again, at most once a second, so that keys can be revoked."""

    def __init__(
        self,
        entries: Iterable[KeyEntry] = (),
        *,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = _index(entries)
        self._path = path
        self._clock = clock
        self._modified = 0
        self._looked = clock()

    @classmethod
    def load(cls, path: Path | None, clock: Callable[[], float] = time.monotonic) -> KeyRing:
        """The keys of a file; with None there are none, and nobody is let in.

        Raises KeyFileError where the file is missing or wrong.
        """
        ring = cls(path=path, clock=clock)
        if path is not None:
            ring._reread(path)
        return ring

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: str | bytes) -> Principal | None:
        """The owner of a key, or None.

        The look-up goes by digest, which a caller can neither choose nor steer, so its duration says
        nothing about the stored keys; the final comparison takes constant time.
        """
        self._refresh()
        digest = hashlib.sha256(key.encode() if isinstance(key, str) else key).digest()
        found = self._keys.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def _refresh(self) -> None:
        now = self._clock()
        if self._path is None or now - self._looked < _RELOAD_SECONDS:
            return
        self._looked = now
        try:
            if self._reread(self._path):
                logger.info("API keys re-read: %d", len(self._keys))
        except KeyFileError as error:
            logger.error("API keys not re-read, the old ones stay: %s", error)

    def _reread(self, path: Path) -> bool:
        try:
            modified = path.stat().st_mtime_ns
            if modified == self._modified:
                return False
            self._modified = modified
            self._keys = _index(msgspec.json.decode(path.read_bytes(), type=KeyFile).keys)
        except (KeyFileError, OSError, ValueError, msgspec.MsgspecError) as error:
            remedy = "correct it, or unset PLINTH_API_KEYS_FILE, and every key is refused"
            raise KeyFileError(f"the API keys file {path} is no use: {error}; {remedy}") from error
        return True


def key_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request carries: `X-API-Key: k` or `Authorization: Bearer k`."""
    key = headers.get(b"x-api-key")
    if key:
        return key
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() or None if scheme.lower() == b"bearer" else None


def generate(
    name: str, role: Role, token: Callable[[int], str] = secrets.token_urlsafe
) -> tuple[str, KeyEntry]:
    """A new key for its owner, shown once, and the entry for the keys file."""
    key = token(32)
    return key, KeyEntry(name, role.name.lower(), hashlib.sha256(key.encode()).hexdigest())


def key_files(token: Callable[[int], str] = secrets.token_urlsafe) -> tuple[str, str]:
    """Two texts for a new installation with one key per role: the keys as PLINTH_API_KEY_<ROLE> lines for
    those who call, and the keys file of their digests for the services."""
    keys = [generate(f"demo-{role.name.lower()}", role, token) for role in Role]
    lines = [f"PLINTH_API_KEY_{entry.role.upper()}={key}\n" for key, entry in keys]
    return "".join(lines), msgspec.json.encode(KeyFile([entry for _, entry in keys])).decode()


def _index(entries: Iterable[KeyEntry]) -> dict[bytes, tuple[bytes, Principal]]:
    keys: dict[bytes, tuple[bytes, Principal]] = {}
    for entry in entries:
        if not _SHA256.fullmatch(entry.sha256):
            raise KeyFileError(f"sha256 of {entry.name!r} is not 64 lowercase hex digits")
        digest = bytes.fromhex(entry.sha256)
        if digest in keys:
            raise KeyFileError(f"{entry.name!r} and {keys[digest][1].name!r} have the same key")
        keys[digest] = (digest, Principal(entry.name, Role.parse(entry.role)))
    return keys
