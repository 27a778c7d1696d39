"""What TLS needs, read from its files each time, so that a renewed certificate is used at the next connect."""

import ssl
from dataclasses import dataclass, field

from allocation_contracts.url_parts import AddressError, check_readable


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What the options of an address say about TLS.

    Attributes:
        cacertfile: The authorities to trust, as PEM; None: those of the system.
        certfile: The client's certificate, as PEM.
        keyfile: Its private key; None: it stands in `certfile`.
        password: What the private key is encrypted with.
        verify: Whether the broker's certificate must be signed by a trusted authority.
        check_name: Whether it must be for the name of the host.
        server_name: The name that it must be for, in place of the host's.
    """

    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    verify: bool = True
    check_name: bool = True
    server_name: str | None = None


def context(files: TlsFiles) -> ssl.SSLContext:
    """Return a new context for a client, with the files as they are now.

    Raises:
        AddressError: One of them cannot be read or is no PEM file; the text names it and its option.
    """
    for option in ("cacertfile", "certfile", "keyfile"):
        if path := getattr(files, option):
            check_readable(option, path)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cacertfile:
        _trust(made, files.cacertfile)
    else:
        made.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if not (files.verify and files.check_name):
        made.check_hostname = False
    if not files.verify:
        made.verify_mode = ssl.CERT_NONE
    if files.certfile:
        _present(made, files.certfile, files)
    return made


def _trust(made: ssl.SSLContext, path: str) -> None:
    try:
        made.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise AddressError(f"its cacertfile {path} holds no certificates in PEM form") from error


def _present(made: ssl.SSLContext, certfile: str, files: TlsFiles) -> None:
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        made.load_cert_chain(certfile, files.keyfile, password=files.password or "")
    except (ssl.SSLError, OSError, ValueError) as error:
        place = f"certfile {certfile}" + (f" and its keyfile {files.keyfile}" if files.keyfile else "")
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise AddressError(f"its {place} hold a certificate and a key that do not belong together") from error
        raise AddressError(
            f"its {place} cannot be used: a certificate and its private key in PEM form are needed, and `password` if "
            "the key is encrypted"
        ) from error
