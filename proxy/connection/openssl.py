"""What OpenSSL can do for a context beyond Python's `ssl`, called in the very library that `ssl` runs on.

CPython keeps its `SSL_CTX *` first in an `ssl.SSLContext`, and its `SSL *` second in what stands behind an
`ssl.SSLObject`. That is checked once, on a context whose options are known and a connection of it. Where the
library hides its functions (a statically linked interpreter) `AVAILABLE` is False, and whoever needs one of these
refuses its config field with `UNAVAILABLE`.

The callbacks are never freed, as a connection may outlive the Python object of its context.
What they need of a context stands in `_callback_data` as long as that object lives.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from proxy.connection.tls_stapling import StapleAction

UNAVAILABLE: Final = "the OpenSSL of this Python interpreter cannot be reached for it"

#: Bytes of a session ticket key: a name, a key for HMAC-SHA256 and one for AES-256 (Envoy's and OpenSSL's order).
TICKET_KEY_BYTES: Final = 80
_NAME_END: Final = 16
_HMAC_END: Final = 48

# Of <openssl/ssl.h>, <openssl/tls1.h> and <openssl/core.h>.
_CTRL_SET_SESS_CACHE_MODE: Final = 44
_CTRL_SET_TICKET_KEYS: Final = 59
_CTRL_SET_STATUS_CALLBACK: Final = 63
_CTRL_SET_STATUS_RESPONSE: Final = 71
_CTRL_SET_GROUPS_LIST: Final = 92
_CTRL_SET_SIGALGS_LIST: Final = 98
_SESS_CACHE_OFF: Final = 0
_STATUS_OK: Final = 0
_STATUS_FATAL: Final = 2
_STATUS_NOT_GIVEN: Final = 3
_EX_INDEX_SSL: Final = 0
_VERIFIED: Final = 0  # X509_V_OK
_OSSL_PARAM_UTF8: Final = 4
_OSSL_PARAM_OCTETS: Final = 5
_IV_BYTES: Final = 16
_SESSION_ID_CONTEXT_BYTES: Final = 32


class _Param(ctypes.Structure):
    """`OSSL_PARAM`."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


class _CallbackData(Struct):
    """`ticket_keys`: the first encrypts. `staple` answers for a certificate, see `set_stapling`; `key_log` takes
    lines of secrets.
    """

    ticket_keys: Sequence[bytes] = ()
    staple: Callable[[bytes], tuple[StapleAction, bytes]] | None = None
    key_log: Callable[[bytes], object] | None = None


_callback_data: dict[int, _CallbackData] = {}
_POINTER: Final = ctypes.c_void_p
_TicketCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, ctypes.c_int
)

_StatusCallback = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER)
_KeyLogCallback = ctypes.CFUNCTYPE(None, _POINTER, ctypes.c_char_p)
_VerifyCallback = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER)

_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "SSL_CTX_get_options": (ctypes.c_uint64, (_POINTER,)),
    "SSL_CTX_callback_ctrl": (ctypes.c_long, (_POINTER, ctypes.c_int, _POINTER)),
    "SSL_CTX_ctrl": (ctypes.c_long, (_POINTER, ctypes.c_int, ctypes.c_long, _POINTER)),
    "SSL_CTX_set_keylog_callback": (None, (_POINTER, _POINTER)),
    "SSL_CTX_set_timeout": (ctypes.c_long, (_POINTER, ctypes.c_long)),
    "SSL_CTX_set_session_id_context": (ctypes.c_int, (_POINTER, ctypes.c_char_p, ctypes.c_uint)),
    "SSL_CTX_set_tlsext_ticket_key_evp_cb": (ctypes.c_int, (_POINTER, _POINTER)),
    "SSL_CTX_set_cert_verify_callback": (None, (_POINTER, _POINTER, _POINTER)),
    "SSL_ctrl": (ctypes.c_long, (_POINTER, ctypes.c_int, ctypes.c_long, _POINTER)),
    "SSL_shutdown": (ctypes.c_int, (_POINTER,)),
    "SSL_get_SSL_CTX": (_POINTER, (_POINTER,)),
    "SSL_get_current_cipher": (_POINTER, (_POINTER,)),
    "SSL_get_pending_cipher": (_POINTER, (_POINTER,)),
    "SSL_CIPHER_get_name": (ctypes.c_char_p, (_POINTER,)),
    "SSL_get_version": (ctypes.c_char_p, (_POINTER,)),
    "SSL_get_certificate": (_POINTER, (_POINTER,)),
    "SSL_get_ex_data": (_POINTER, (_POINTER, ctypes.c_int)),
    "SSL_set_ex_data": (ctypes.c_int, (_POINTER, ctypes.c_int, _POINTER)),
    "CRYPTO_get_ex_new_index": (
        ctypes.c_int,
        (ctypes.c_int, ctypes.c_long, _POINTER, _POINTER, _POINTER, _POINTER),
    ),
    "CRYPTO_malloc": (_POINTER, (ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int)),
    "i2d_X509": (ctypes.c_int, (_POINTER, _POINTER)),
    "SSL_get_verify_result": (ctypes.c_long, (_POINTER,)),
    "X509_verify_cert": (ctypes.c_int, (_POINTER,)),
    "EVP_aes_256_cbc": (_POINTER, ()),
    "EVP_EncryptInit_ex": (
        ctypes.c_int,
        (_POINTER, _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_char_p),
    ),
    "EVP_DecryptInit_ex": (
        ctypes.c_int,
        (_POINTER, _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_char_p),
    ),
    "EVP_MAC_CTX_set_params": (ctypes.c_int, (_POINTER, ctypes.POINTER(_Param))),
    "ERR_clear_error": (None, ()),
}


def _address(context: ssl.SSLContext) -> int:
    """The `SSL_CTX *` of a context."""
    return int(ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value or 0)


def _connection(ssl_object: Any) -> int:
    """The `SSL *` of an `ssl.SSLObject`."""
    at = id(ssl_object._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    return int(ctypes.c_void_p.from_address(at).value or 0)


def _load() -> Any:
    """The library, None if it cannot be used."""
    import _ssl

    file = getattr(_ssl, "__file__", None)
    if file is None or not hasattr(ssl.SSLContext, "num_tickets"):
        return None
    try:
        library = ctypes.CDLL(file)  # looks into the libraries that the module is linked with, too
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
    except (OSError, AttributeError):
        return None
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    known.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    if library.SSL_CTX_get_options(_address(known)) != known.options & 0xFFFFFFFFFFFFFFFF:
        return None
    connection = _connection(known.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True))
    return library if library.SSL_get_SSL_CTX(connection) == _address(known) else None


_library: Final = _load()
AVAILABLE: Final = _library is not None
# Where a connection keeps its `StapleAction`.
_staple_index: Final = (
    _library.CRYPTO_get_ex_new_index(_EX_INDEX_SSL, 0, None, None, None, None) if AVAILABLE else -1
)

# Where a connection keeps whether its secrets stay secrets.
_silent_index: Final = (
    _library.CRYPTO_get_ex_new_index(_EX_INDEX_SSL, 0, None, None, None, None) if AVAILABLE else -1
)


def _data_of(context: ssl.SSLContext) -> _CallbackData:
    address = _address(context)
    data = _callback_data.get(address)
    if data is None:
        data = _callback_data[address] = _CallbackData()
        weakref.finalize(context, _callback_data.pop, address, None).atexit = False
    return data


# -- facts


def negotiated_version(ssl_object: ssl.SSLObject) -> str:
    """Such as `TLSv1.3`, before the handshake is over, too."""
    return str(_library.SSL_get_version(_connection(ssl_object)).decode())


def pending_cipher(ssl_object: ssl.SSLObject) -> str:
    """The cipher suite that is agreed on, before the handshake is over, too; "" if none is."""
    connection = _connection(ssl_object)
    cipher = _library.SSL_get_current_cipher(connection)
    if not cipher and negotiated_version(ssl_object) != "TLSv1.3":  # which agrees on all else later
        cipher = _library.SSL_get_pending_cipher(connection)
    return str(_library.SSL_CIPHER_get_name(cipher).decode()) if cipher else ""


def shown_certificate(ssl_object: ssl.SSLObject) -> bytes:
    """The certificate of ours that a connection shows in DER, b"" if none."""
    certificate = _library.SSL_get_certificate(_connection(ssl_object))
    return _der(certificate) if certificate else b""


def _der(certificate: int) -> bytes:
    der = ctypes.create_string_buffer(_library.i2d_X509(certificate, None))
    end = ctypes.c_void_p(ctypes.addressof(der))
    _library.i2d_X509(certificate, ctypes.byref(end))
    return der.raw


# -- ends


def send_close_notify(ssl_object: ssl.SSLObject) -> None:
    """Say that no more will come, once; the peer may go on."""
    _library.SSL_shutdown(_connection(ssl_object))
    _library.ERR_clear_error()


# -- sessions


def set_ticket_keys(context: ssl.SSLContext, keys: Sequence[bytes]) -> None:
    """Encrypt session tickets with the first of `keys`, accept those of all. Each has `TICKET_KEY_BYTES`."""
    address = _address(context)
    if len(keys) == 1:
        _library.SSL_CTX_ctrl(address, _CTRL_SET_TICKET_KEYS, TICKET_KEY_BYTES, ctypes.c_char_p(keys[0]))
        return
    _data_of(context).ticket_keys = tuple(keys)
    _library.SSL_CTX_set_tlsext_ticket_key_evp_cb(address, ctypes.cast(_on_ticket, _POINTER))


def set_session_id_context(context: ssl.SSLContext, identity: bytes) -> None:
    """Sessions are resumed only where they began: in a context with the same `identity`."""
    _library.SSL_CTX_set_session_id_context(
        _address(context), identity[:_SESSION_ID_CONTEXT_BYTES], min(len(identity), _SESSION_ID_CONTEXT_BYTES)
    )


def set_session_timeout(context: ssl.SSLContext, seconds: int) -> None:
    """How long a session may be resumed."""
    _library.SSL_CTX_set_timeout(_address(context), seconds)


def turn_off_session_cache(context: ssl.SSLContext) -> None:
    """Keep no sessions here; tickets are not concerned."""
    _library.SSL_CTX_ctrl(_address(context), _CTRL_SET_SESS_CACHE_MODE, _SESS_CACHE_OFF, None)


def _ticket(
    connection: int, name_at: int, iv_at: int, cipher: int, mac: int, encrypt: int
) -> int:  # pragma: no cover  (runs in C's frames)
    """`SSL_CTX_set_tlsext_ticket_key_evp_cb`: -1 is an error, 0 no key, 1 good, 2 good but to be renewed."""
    data = _callback_data.get(_library.SSL_get_SSL_CTX(connection))
    if data is None or not data.ticket_keys:
        return 0
    keys = data.ticket_keys
    found = 0
    if encrypt:
        key = keys[0]
        iv = os.urandom(_IV_BYTES)
        ctypes.memmove(name_at, key, _NAME_END)
        ctypes.memmove(iv_at, iv, _IV_BYTES)
        start = _library.EVP_EncryptInit_ex
    else:
        name = ctypes.string_at(name_at, _NAME_END)
        found = next((i for i, one in enumerate(keys) if one.startswith(name)), -1)
        if found < 0:
            return 0
        key = keys[found]
        iv = ctypes.string_at(iv_at, _IV_BYTES)
        start = _library.EVP_DecryptInit_ex
    secret = ctypes.create_string_buffer(key[_NAME_END:_HMAC_END], _HMAC_END - _NAME_END)
    digest = ctypes.create_string_buffer(b"SHA256")
    parameters = (_Param * 3)(
        _Param(b"key", _OSSL_PARAM_OCTETS, ctypes.addressof(secret), _HMAC_END - _NAME_END, 0),
        _Param(b"digest", _OSSL_PARAM_UTF8, ctypes.addressof(digest), len(b"SHA256"), 0),
        _Param(None, 0, None, 0, 0),
    )
    if not _library.EVP_MAC_CTX_set_params(mac, parameters):
        return -1
    if not start(cipher, _library.EVP_aes_256_cbc(), None, key[_HMAC_END:], iv):
        return -1
    return 2 if found else 1


# -- verification


def accept_any_peer(context: ssl.SSLContext) -> None:
    """Let peers in whatever becomes of the verification of their certificates; see `chain_is_verified`."""
    _library.SSL_CTX_set_cert_verify_callback(_address(context), ctypes.cast(_on_peer, _POINTER), None)


def chain_is_verified(ssl_object: ssl.SSLObject) -> bool:
    """Whether the peer's certificate was trusted; of a resumed session, when that session began."""
    return bool(_library.SSL_get_verify_result(_connection(ssl_object)) == _VERIFIED)


def _verify(store: int, argument: int) -> int:  # pragma: no cover  (runs in C's frames)
    """`SSL_CTX_set_cert_verify_callback`: verifies as usual, which leaves its result in `store`."""
    del argument
    _library.X509_verify_cert(store)
    _library.ERR_clear_error()
    return 1


# -- secrets


def set_key_log(context: ssl.SSLContext, write: Callable[[bytes], object]) -> None:
    """Have each line of secrets (without its end) written, but of connections that keep theirs."""
    _data_of(context).key_log = write
    _library.SSL_CTX_set_keylog_callback(_address(context), ctypes.cast(_on_secret, _POINTER))


def keep_secrets(ssl_object: ssl.SSLObject) -> None:
    """Write no secrets of a connection; to be called before its handshake."""
    _library.SSL_set_ex_data(_connection(ssl_object), _silent_index, 1)


def _secret(connection: int, line: bytes) -> None:  # pragma: no cover  (runs in C's frames)
    """`SSL_CTX_set_keylog_callback`."""
    data = _callback_data.get(_library.SSL_get_SSL_CTX(connection))
    if data is not None and data.key_log and not _library.SSL_get_ex_data(connection, _silent_index):
        data.key_log(line)


# -- stapling


def set_stapling(context: ssl.SSLContext, staple: Callable[[bytes], tuple[StapleAction, bytes]]) -> None:
    """Answer clients that ask for the status of the certificate: `staple` is called with its DER.

    It returns what to do and, for STAPLE, the `OCSPResponse`. `staple_action` tells afterwards.
    """
    _data_of(context).staple = staple
    _library.SSL_CTX_callback_ctrl(
        _address(context), _CTRL_SET_STATUS_CALLBACK, ctypes.cast(_on_status, _POINTER)
    )


def staple_action(ssl_object: ssl.SSLObject) -> StapleAction:
    """What became of the client's status request, NONE if it made none or resumed a session."""
    return StapleAction(_library.SSL_get_ex_data(_connection(ssl_object), _staple_index) or 0)


def _status(connection: int, argument: int) -> int:  # pragma: no cover  (runs in C's frames)
    """`SSL_CTX_set_tlsext_status_cb`."""
    del argument
    data = _callback_data.get(_library.SSL_get_SSL_CTX(connection))
    if data is None or data.staple is None:
        return _STATUS_NOT_GIVEN
    action, response = data.staple(_der(_library.SSL_get_certificate(connection)))
    _library.SSL_set_ex_data(connection, _staple_index, int(action))
    if action == StapleAction.FAIL:
        return _STATUS_FATAL
    if action != StapleAction.STAPLE:
        return _STATUS_NOT_GIVEN
    memory = _library.CRYPTO_malloc(len(response), b"", 0)  # the connection frees it
    ctypes.memmove(memory, response, len(response))
    _library.SSL_ctrl(connection, _CTRL_SET_STATUS_RESPONSE, len(response), memory)
    return _STATUS_OK


# -- parameters


def set_groups(context: ssl.SSLContext, names: Sequence[str]) -> bool:
    """The curves and other groups of key exchanges, the preferred first; False if one is unknown."""
    return _set_list(context, _CTRL_SET_GROUPS_LIST, names)


def set_signature_algorithms(context: ssl.SSLContext, names: Sequence[str]) -> bool:
    """The signature algorithms that are offered and taken; False if one is unknown."""
    return _set_list(context, _CTRL_SET_SIGALGS_LIST, names)


def _set_list(context: ssl.SSLContext, command: int, names: Sequence[str]) -> bool:
    text = ctypes.c_char_p(":".join(names).encode())
    done = bool(_library.SSL_CTX_ctrl(_address(context), command, 0, text) == 1)
    _library.ERR_clear_error()  # or the next failure would be explained by this one
    return done


_on_ticket: Final = _TicketCallback(_ticket)
_on_secret: Final = _KeyLogCallback(_secret)
_on_status: Final = _StatusCallback(_status)
_on_peer: Final = _VerifyCallback(_verify)
