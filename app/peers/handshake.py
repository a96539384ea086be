"""How two replicas meet: who they are, that both know the secret, and which version they speak.

The one that was reached speaks first. Each proves that it knows the release's secret by a keyed
hash (HMAC-SHA256) of what the other has just made up and of the versions that were offered, so that
nobody between them can talk them down to an older one. The secret itself is never sent, and nothing
that was overheard serves a second time. What follows is not encrypted.

| | |
|---|---|
| reached | magic, its oldest and newest version, 16 random bytes |
| caller  | its oldest and newest version, 16 random bytes, its proof, who it is |
| reached | the version that both speak, its proof, its id |
"""

import hmac
import json
from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception
from typing import Final

from app.peers import wire
from app.peers.messages import ProtocolError
from app.peers.record import Member

MAGIC: Final = b"leastwise peer\n"
NONCE: Final = 16
"""Bytes that each side makes up."""

_PROOF: Final = 32
_MOST: Final = 4096
_FIRST: Final = Struct(f"<{len(MAGIC)}sBB{NONCE}s")
_SECOND: Final = Struct(f"<BB{NONCE}s{_PROOF}sH")
_THIRD: Final = Struct(f"<B{_PROOF}sB")


class Handshake:
    """One side of it. `version` and `member_id` are set once `done`."""

    def __init__(self, secret: bytes, me: Member, nonce: bytes) -> None:
        self.done = False
        self.version = 0
        self.member_id = ""
        """The other's id, proved."""

        self.rest = b""
        """What came after the handshake, once it is done."""

        self._secret = secret
        self._me = me
        self._nonce = nonce
        self._came = b""

    def begin(self) -> bytes:
        """Return what is to be said first."""
        return b""

    def feed(self, data: bytes) -> bytes:
        """Take in what came; return what is to be answered. Raises `ProtocolError`."""
        self._came += data
        if len(self._came) > _MOST:
            raise ProtocolError("a handshake without an end")
        try:
            return self._read()
        except (StructError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise ProtocolError(f"a handshake that is none: {error!r}") from error

    def _read(self) -> bytes:
        raise NotImplementedError

    def _take(self, count: int) -> bytes | None:
        """Take so many bytes off what came; None if they have not all come."""
        if len(self._came) < count:
            return None
        taken, self._came = self._came[:count], self._came[count:]
        return taken

    def _prove(self, *parts: bytes) -> bytes:
        return hmac.digest(self._secret, b"\0".join(parts), sha256)

    def _check(self, proof: bytes, *parts: bytes) -> None:
        if not hmac.compare_digest(proof, self._prove(*parts)):
            raise ProtocolError("it does not know the secret of this release")

    def _finish(self, version: int, member_id: str) -> None:
        self.version, self.member_id = version, member_id
        self.done, self.rest, self._came = True, self._came, b""


class Reached(Handshake):
    """The side that was called. `member` is set once done."""

    member: Member
    _offered = b""

    def begin(self) -> bytes:
        """Return what is to be said first."""
        self._offered = bytes(wire.VERSIONS)
        return _FIRST.pack(MAGIC, *self._offered, self._nonce)

    def _read(self) -> bytes:
        if len(self._came) < _SECOND.size:
            return b""
        oldest, newest, nonce, proof, length = _SECOND.unpack_from(self._came)
        if len(self._came) < _SECOND.size + length:
            return b""
        self._take(_SECOND.size)
        said = self._take(length) or b""
        offered = self._offered + bytes([oldest, newest])
        self._check(proof, b"caller", self._nonce, nonce, offered, said)
        who = json.loads(said)
        self.member = Member(*(str(who[name]) for name in ("id", "pod", "uid", "address")))
        version = _common(oldest, newest)
        my_id = self._me.id.encode()
        proof = self._prove(b"reached", nonce, self._nonce, bytes([version]), my_id)
        self._finish(version, self.member.id)
        return _THIRD.pack(version, proof, len(my_id)) + my_id


class Caller(Handshake):
    """The side that called."""

    _theirs = b""

    def _read(self) -> bytes:
        if not self._theirs:
            first = self._take(_FIRST.size)
            if first is None:
                return b""
            magic, oldest, newest, self._theirs = _FIRST.unpack(first)
            if magic != MAGIC:
                raise ProtocolError("this is no replica's peer port")
            _common(oldest, newest)
            offered = bytes([oldest, newest, *wire.VERSIONS])
            me = self._me
            said = json.dumps(
                {"id": me.id, "pod": me.pod, "uid": me.uid, "address": me.address}
            ).encode()
            proof = self._prove(b"caller", self._theirs, self._nonce, offered, said)
            return _SECOND.pack(*wire.VERSIONS, self._nonce, proof, len(said)) + said
        if len(self._came) < _THIRD.size:
            return b""
        version, proof, length = _THIRD.unpack_from(self._came)
        if len(self._came) < _THIRD.size + length:
            return b""
        self._take(_THIRD.size)
        their_id = self._take(length) or b""
        self._check(proof, b"reached", self._nonce, self._theirs, bytes([version]), their_id)
        self._finish(version, their_id.decode())
        return b""


def _common(oldest: int, newest: int) -> int:
    """Return the newest version that both speak. Raises `ProtocolError`."""
    version = min(newest, wire.VERSIONS[1])
    if version < max(oldest, wire.VERSIONS[0]):
        ours = "{} to {}".format(*wire.VERSIONS)
        raise ProtocolError(f"it speaks versions {oldest} to {newest}, this replica {ours}")
    return version
