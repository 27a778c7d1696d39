"""The address of a server, as its client library takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from allocation_contracts.url_parts import check_readable

Value = TypeVar("Value")


@dataclass(frozen=True)
class ServerAddress(Generic[Value]):
    """An address. `str` gives its masked form.

    Attributes:
        arguments: The arguments for the client library, by name.
        masked: The address for logs and errors: without any password and without options.
        files: The options whose values are files, by name.
    """

    arguments: Mapping[str, Value] = field(repr=False)
    masked: str
    files: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return self.masked

    def check_files(self) -> None:
        """Check that the files in the address are readable.

        Raises:
            AddressError: A file cannot be read; the text names it and its option.
        """
        for option, path in self.files.items():
            check_readable(option, path)
