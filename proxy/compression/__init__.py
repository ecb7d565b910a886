"""Compression libraries behind one interface: `api`, `gzip`, `brotli`, `zstd`; `libraries` finds them by type.

Used by the compressor and decompressor filters. A library is compiled from its config message once and makes
one object for each message body.
"""
