"""Fingerprints of certificates, from their DER bytes."""

from __future__ import annotations

import hashlib


def sha256_of(der: bytes) -> str:
    """The fingerprint in lower-case hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def sha1_of(der: bytes) -> str:
    """The SHA-1 fingerprint in lower-case hexadecimal; an identifier, not a protection."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()
