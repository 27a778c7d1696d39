"""Reads commands from a file, CSV with a header or JSON lines, as a stream."""

import csv
import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import NoneType
from typing import Annotated, Any, BinaryIO, Final, NamedTuple, get_args, get_origin

from pydantic import ValidationError

import allocation_contracts as contracts
from allocation_contracts import ContractError, strict_json
from allocation_worker.domain.errors import quoted
from allocation_worker.service_layer.ports import BadRow, CommandFileError, GoodRow, Survey

ROW_NUMBER: Final = "#row"
"""The name of a virtual column that holds the row's number."""

TYPE_COLUMN: Final = "type"

_DELIMITERS: Final = ",;\t"

_WHITE: Final = b" \t\r\n\xef\xbb\xbf"

_is_integer = re.compile(r"-?[0-9]{1,20}").fullmatch

_TYPES: Mapping[str, str] = {
    name: type_ for type_, model in contracts.COMMANDS.items() for name in (type_, model.ROUTING_KEY)
}


def _kinds(annotation: object) -> frozenset[object]:
    parts = get_args(annotation) or (annotation,)
    return frozenset(get_args(part)[0] if get_origin(part) is Annotated else part for part in parts)


_KINDS: Mapping[str, Mapping[str, Collection[object]]] = {
    type_: {name: _kinds(info.annotation) for name, info in model.model_fields.items()}
    for type_, model in contracts.COMMANDS.items()
}
"""The types that the value of each field of a command may have."""


class _Once(NamedTuple):
    """What a file may ask for once only, and what to do if two rows ask for it."""

    key: tuple[str, ...]
    what: str
    way_out: str


def _done_once(command: contracts.Command) -> _Once | None:
    match command:
        case contracts.Allocate():
            return _Once(
                ("order", command.orderid, command.sku, command.lineid),
                f"order the line of {_line(command)}, so only one would get stock",
                "if they are two lines, tell them apart: --column lineid=#row",
            )
        case contracts.Deallocate():
            return _Once(
                ("cancel", command.orderid, command.sku, command.lineid),
                f"cancel the line of {_line(command)}",
                "leave one of them out, or name the column that tells lines apart: --column lineid=NAME",
            )
        case contracts.CreateBatch():
            return _Once(
                ("create", command.batchref),
                f"create batch {quoted(command.batchref)}",
                "give each batch a batchref of its own",
            )
    return None


def _line(command: contracts.Allocate | contracts.Deallocate) -> str:
    lineid = f", lineid {quoted(command.lineid)}" if command.lineid else ""
    return f"order {quoted(command.orderid)}, SKU {quoted(command.sku)}{lineid}"


def _trimmed(cells: list[str]) -> list[str]:
    """Return the cells without the empty ones at the end, which spreadsheets add."""
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return cells[:end]


def _named(cells: list[str]) -> list[str]:
    """Return the names of the columns; one without a name is called by its number."""
    return [name or f"(column {number})" for number, name in enumerate(_trimmed(cells), start=1)]


@contextmanager
def spooled(stream: BinaryIO) -> Iterator[Path]:
    """Yield a file with what the stream holds, to be read twice: JSON lines if it begins with `{`, else CSV."""
    start = b""
    while not start.strip(_WHITE) and (more := stream.read(1)):
        start += more
    suffix = ".jsonl" if start.strip(_WHITE) == b"{" else ".csv"
    with NamedTemporaryFile(suffix=suffix) as file:
        file.write(start)
        shutil.copyfileobj(stream, file)
        file.flush()
        yield Path(file.name)


class CommandFile:
    """A file of commands.

    Rows are counted as a spreadsheet does: a CSV file's header is row 1. A JSON line's number is its row.

    Args:
        path: `.csv` or `.tsv`, its cells separated by commas, semicolons or tabs; or `.jsonl`, `.ndjson` or `.json` for
            one JSON object a line.
        type_: The type of every row, such as `allocate` or `allocate.v1`; None to read it from the column `type`.
        columns: The column of each field that has not the field's own name; `#row` is the row's number.
        name: What messages call the file. Default: its path.

    Raises:
        CommandFileError: The suffix, the type or a field is unknown.
    """

    def __init__(
        self,
        path: Path,
        *,
        type_: str | None = None,
        columns: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        self._path = path
        self._name = name or str(path)
        self._type = None if type_ is None else self._type_named(type_)
        self._columns = dict(columns or {})
        self._is_csv = path.suffix.lower() in {".csv", ".tsv"}
        if not self._is_csv and path.suffix.lower() not in {".jsonl", ".ndjson", ".json"}:
            raise CommandFileError(f"{self._name} must end in .csv, or in .jsonl for one JSON object a line.")
        models = contracts.COMMANDS.values() if self._type is None else [contracts.COMMANDS[self._type]]
        fields = {name for model in models for name in model.model_fields} | (set() if self._type else {TYPE_COLUMN})
        if unknown := self._columns.keys() - fields:
            raise CommandFileError(f"There is no field {', '.join(sorted(unknown))}; take {', '.join(sorted(fields))}.")

    @property
    def name(self) -> str:
        return self._name

    def survey(self) -> Survey:
        """Read the whole file and return its totals.

        Raises:
            CommandFileError: The file cannot be read, or its header lacks a required column.
        """
        survey, seen = Survey(), set[str]()
        for row in self.rows(seen):
            survey.add(row)
        survey.unused = seen - self._used()
        return survey

    def rows(self, seen: set[str] | None = None) -> Iterator[GoodRow | BadRow]:
        """Yield all rows in order, and add the names of all columns to `seen`.

        Of two rows that order the same line, cancel the same line or create the same batch, the second is a bad row.
        """
        first_rows: dict[bytes, int] = {}
        if self._path.exists() and not self._path.is_file():
            raise CommandFileError(f"{self._name} is not a file that can be read twice.")
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                for number, record in self._csv(file) if self._is_csv else self._json_lines(file):
                    if isinstance(record, dict):
                        if seen is not None:
                            seen.update(record)
                        yield self._unless_repeated(self._row(number, record), first_rows)
                    else:
                        yield BadRow(number, record)
        except OSError as error:
            raise CommandFileError(f"{self._name} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise CommandFileError(f"{self._name} is not UTF-8 ({error.reason}); save it as UTF-8.") from error

    def _csv(self, file: Any) -> Iterator[tuple[int, dict[str, Any] | str]]:  # noqa: ANN401 - lines of text
        reader = csv.reader(file, strict=True, delimiter=self._delimiter(file))
        header: list[str] = []
        number = 0
        while True:
            number += 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                # After a missing quotation mark, the start of the next row is unknown.
                raise CommandFileError(f"{self._name}, row {number}: it is not valid CSV ({error}).") from error
            if cells is None:
                break
            if number == 1:
                header = _named(cells)
                self._check_header(header)
                continue
            cells = [*cells[: len(header)], *_trimmed(cells[len(header) :])]
            if not any(cells):
                continue
            if len(cells) != len(header):
                yield number, f"{self._name}, row {number}: it has {len(cells)} cells, and the header {len(header)}."
            else:
                yield number, {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        if not header:
            raise CommandFileError(f"{self._name} is empty; its first row must name the columns.")

    def _delimiter(self, file: Any) -> str:  # noqa: ANN401 - lines of text
        """Return what separates the cells: what gives the first row all columns that are needed, or most cells."""
        first = file.readline()
        file.seek(0)

        def fitness(delimiter: str) -> tuple[bool, int]:
            with suppress(csv.Error):
                header = _named(next(csv.reader([first], delimiter=delimiter), []))
                return not self._missing(header), len(header)
            return False, 0

        return max(_DELIMITERS, key=fitness)

    def _check_header(self, header: list[str]) -> None:
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise CommandFileError(f"{self._name} has the column {twice!r} twice; name each column once.")
        for name, column in self._missing(header):
            hint = f"{'give --type, or ' if name == TYPE_COLUMN else ''}name it with --column {name}=NAME"
            raise CommandFileError(
                f"{self._name} has no column {column!r} for {name}; it has {', '.join(header)}; {hint}."
            )

    def _missing(self, header: list[str]) -> list[tuple[str, str]]:
        """Return the fields that a header has no column for, each with the name of that column."""
        needed = [TYPE_COLUMN]
        if self._type is not None:
            fields = contracts.COMMANDS[self._type].model_fields.items()
            needed = [name for name, info in fields if info.is_required()]
        columns = {name: self._columns.get(name, name) for name in [*needed, *self._columns]}
        return [(name, column) for name, column in columns.items() if column not in {*header, ROW_NUMBER}]

    def _json_lines(self, file: Any) -> Iterator[tuple[int, dict[str, Any] | str]]:  # noqa: ANN401 - lines of text
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, strict_json.read(line.strip().encode())
                except ContractError as violation:
                    yield number, f"{self._name}, row {number}: {violation.detail.replace('The body', 'The line')}"

    def _row(self, number: int, record: dict[str, Any]) -> GoodRow | BadRow:
        try:
            type_ = self._type or self._type_named(record.get(self._columns.get(TYPE_COLUMN, TYPE_COLUMN)))
        except CommandFileError as error:
            return BadRow(number, f"{self._name}, row {number}: {error}")
        values: dict[str, Any] = {}
        for name, kinds in _KINDS[type_].items():
            column = self._columns.get(name, name)
            if column == ROW_NUMBER:
                values[name] = str(number)
            elif column in record:
                cell = record[column]
                values[name] = _from_text(cell, kinds) if self._is_csv else cell
        try:
            return GoodRow(number, contracts.read_command(type_, json.dumps(values).encode()))
        except ContractError as violation:
            return BadRow(number, self._sentence(number, violation))

    def _unless_repeated(self, row: GoodRow | BadRow, first_rows: dict[bytes, int]) -> GoodRow | BadRow:
        once = None if isinstance(row, BadRow) else _done_once(row.command)
        if once is None:
            return row
        # A digest, since a file may have millions of rows.
        first = first_rows.setdefault(blake2b("\0".join(once.key).encode(), digest_size=16).digest(), row.number)
        if first == row.number:
            return row
        return BadRow(row.number, f"{self._name}, rows {first} and {row.number}: both {once.what}; {once.way_out}.")

    def _sentence(self, number: int, violation: ContractError) -> str:
        cause = violation.__cause__
        place = f"{self._name}, row {number}"
        if isinstance(cause, ValidationError):
            name = str(cause.errors()[0]["loc"][0])
            place += f", column {self._columns.get(name, name)}"
        return f"{place}: {violation.detail}"

    def _used(self) -> set[str]:
        models = contracts.COMMANDS.values() if self._type is None else [contracts.COMMANDS[self._type]]
        names = {name for model in models for name in model.model_fields}
        return {self._columns.get(name, name) for name in (names if self._type else {*names, TYPE_COLUMN})}

    def _type_named(self, name: object) -> str:
        type_ = _TYPES.get(name) if isinstance(name, str) else None
        if type_ is None:
            choice = ", ".join(model.ROUTING_KEY for model in contracts.COMMANDS.values())
            raise CommandFileError(f"The type is {name!r}; take one of {choice}.")
        return type_


def _from_text(cell: Any, kinds: Collection[object]) -> Any:  # noqa: ANN401 - a value of JSON
    """Return what a cell of text means for a field of this type; the cell itself if it means nothing."""
    if cell == "null" and NoneType in kinds:
        return None
    if int in kinds and _is_integer(cell):
        return int(cell)
    if bool in kinds and isinstance(cell, str):
        return {"true": True, "false": False}.get(cell.lower(), cell)
    return cell
