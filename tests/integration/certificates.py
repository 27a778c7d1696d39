"""A private certificate authority, made with openssl."""

import subprocess
import time
from itertools import count
from pathlib import Path

from allocation_worker.testing.waiting import wait_until

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Signs certificates.

    Args:
        folder: Where it keeps its own files.
        name: Its name.

    Attributes:
        certificate: The file of its own certificate.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._serials = count(1)
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            "req",
            "-x509",
            *_NEW_KEY,
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 and later ask for it
            "-keyout",
            self._key,
            "-out",
            self.certificate,
        )

    def sign(self, path: Path, name: str, *, days: int = 2) -> Path:
        """Write a new certificate and its key into one file, which may be there already.

        Args:
            path: The file.
            name: The common name, and the name of the host.
            days: How long it is valid from now on; 0 for one that has expired when this returns.
        """
        key, request, signed = (self._folder / f"new.{kind}" for kind in ("key", "request", "pem"))
        extensions = self._folder / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        _openssl("req", "-new", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.certificate,
            "-CAkey",
            self._key,
            "-set_serial",
            str(next(self._serials)),
            "-days",
            str(days),
            "-extfile",
            extensions,
            "-out",
            signed,
        )
        path.write_text(signed.read_text() + key.read_text())
        if days == 0:
            # Its last second must be over for everybody; OpenSSL 3.4 and later make none that has expired before.
            expired = time.time() + 2
            wait_until(lambda: time.time() > expired, within=5, otherwise=lambda: "The clock stands.")
        return path


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
