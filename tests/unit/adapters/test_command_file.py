"""Reading a file of commands, and the errors for bad rows."""

import io
from datetime import date
from pathlib import Path

import pytest

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Deallocate,
)
from allocation_worker.adapters.command_file import CommandFile, spooled
from allocation_worker.service_layer.ports import BadRow, CommandFileError, GoodRow


def write(folder: Path, text: str | bytes, name: str = "orders.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def sentences(file: CommandFile) -> list[str]:
    return [row.sentence.replace(f"{file.name}, ", "") for row in file.rows() if isinstance(row, BadRow)]


def test_columns_are_fields_and_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    path = write(tmp_path, "orderid,sku,qty,lineid\no1,CHAIR,3,\n\no2,TABLE,1,b\n")
    assert list(CommandFile(path, type_="allocate").rows()) == [
        GoodRow(2, Allocate(orderid="o1", sku="CHAIR", qty=3)),
        GoodRow(4, Allocate(orderid="o2", sku="TABLE", qty=1, lineid="b")),
    ]


def test_a_type_column_lets_commands_of_all_types_stand_in_one_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "type,orderid,sku,qty,batchref,eta\n"
        "create-batch,,CHAIR,10,b1,2030-01-31\nallocate.v1,o1,CHAIR,3,,\ndeallocate,o1,CHAIR,,,\n"
        "change-batch-quantity,,,0,b1,\n",
    )
    assert [row.command for row in CommandFile(path).rows() if isinstance(row, GoodRow)] == [
        CreateBatch(batchref="b1", sku="CHAIR", qty=10, eta=date(2030, 1, 31)),
        Allocate(orderid="o1", sku="CHAIR", qty=3),
        Deallocate(orderid="o1", sku="CHAIR"),
        ChangeBatchQuantity(batchref="b1", qty=0),
    ]


def test_json_lines_are_as_strict_as_a_message_body(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"type":"allocate","orderid":"o1","sku":"CHAIR","qty":3}\n\n{"type":"allocate","orderid":"o1","sku":"CHAIR",'
        '"qty":"3"}\n{"qty":1,"qty":2}\n[1]\n{"orderid":"o1"}\n',
        "orders.jsonl",
    )
    file = CommandFile(path)
    assert [row for row in file.rows() if isinstance(row, GoodRow)] == [
        GoodRow(1, Allocate(orderid="o1", sku="CHAIR", qty=3))
    ]
    assert sentences(file) == [
        'row 3, column qty: "qty" in allocate.v1 must be an integer from 1 to 2147483647, got "3".',
        'row 4: The line has the key "qty" twice in one object; send each key once.',
        "row 5: The line must be a JSON object, got an array.",
        (
            "row 6: The type is None; take one of allocate, deallocate, ship, change-line-quantity, hold, "
            "create-batch, change-batch-quantity, change-batch-eta."
        ),
    ]


def test_columns_of_other_names_and_the_rows_number_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffInvoiceNo,StockCode,Quantity\r\n536365,85123A,6\r\n")
    columns = {"orderid": "InvoiceNo", "sku": "StockCode", "qty": "Quantity", "lineid": "#row"}
    file = CommandFile(path, type_="allocate", columns=columns)
    assert list(file.rows()) == [GoodRow(2, Allocate(orderid="536365", sku="85123A", qty=6, lineid="2"))]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("o1,CHAIR,-5", 'row 2, column n: "qty" in allocate.v1 must be an integer from 1 to 2147483647, got -5.'),
        ("o1,CHAIR,1.0", 'row 2, column n: "qty" in allocate.v1 must be an integer from 1 to 2147483647, got "1.0".'),
        ("o1,CHAIR,", 'row 2, column n: "qty" is missing in allocate.v1; it must be an integer from 1 to 2147483647.'),
        ("o1,CHAIR", "row 2: it has 2 cells, and the header 3."),
        (",CHAIR,1", 'row 2, column orderid: "orderid" is missing in allocate.v1; it must be text of 1 to 255 '),
        ("o1,CHAIR ,1", 'row 2, column sku: "sku" in allocate.v1 must be text of 1 to 255 characters without control '),
    ],
)
def test_a_bad_row_is_told_with_its_number_and_its_column(tmp_path: Path, row: str, sentence: str) -> None:
    path = write(tmp_path, f"orderid,sku,n\n{row}\n")
    [found] = sentences(CommandFile(path, type_="allocate", columns={"qty": "n"}))
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("content", "type_", "sentence"),
    [
        (b"", "allocate", "is empty; its first row must name the columns."),
        (b"orderid,sku,qty,sku\n", "allocate", "has the column 'sku' twice; name each column once."),
        (
            b"orderid|sku|qty\n",
            "allocate",
            "has no column 'orderid' for orderid; it has orderid|sku|qty; name it with --column orderid=NAME.",
        ),
        (
            b"orderid,sku,qty\n",
            None,
            "has no column 'type' for type; it has orderid, sku, qty; give --type, or name it with --column type=NAME.",
        ),
        (
            b"orderid,sku,qty\no1,CH\xc4IR,1\n",
            "allocate",
            "is not UTF-8 (invalid continuation byte); save it as UTF-8.",
        ),
        (b'orderid,sku,qty\no1,"CHAIR,1\n', "allocate", ", row 2: it is not valid CSV (unexpected end of data)."),
    ],
)
def test_a_file_that_is_none_is_told_in_a_sentence(
    tmp_path: Path, content: bytes, type_: str | None, sentence: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(CommandFileError) as failure:
        CommandFile(path, type_=type_).survey()
    assert str(failure.value).replace(str(path), "").strip() == sentence


@pytest.mark.parametrize(
    ("name", "keywords", "sentence"),
    [
        ("orders.xlsx", {}, "must end in .csv, or in .jsonl for one JSON object a line."),
        (
            "orders.csv",
            {"type_": "cancel"},
            "The type is 'cancel'; take one of allocate, deallocate, ship, change-line-quantity, hold, ",
        ),
        ("orders.csv", {"type_": "deallocate", "columns": {"qty": "n"}}, "There is no field qty; take lineid, "),
        ("missing.csv", {}, "cannot be read: No such file or directory."),
        ("folder.csv", {}, "is not a file that can be read twice."),
    ],
)
def test_a_wrong_request_is_told_in_a_sentence(
    tmp_path: Path, name: str, keywords: dict[str, object], sentence: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(CommandFileError) as failure:
        CommandFile(tmp_path / name, **keywords).survey()  # type: ignore[arg-type] # keyword arguments of several types
    assert sentence in str(failure.value)


def test_cells_say_what_a_number_a_truth_and_nothing_are(tmp_path: Path) -> None:
    text = (
        "type,orderid,sku,qty,wait,needed_by,from_qty,batchref,eta\n"
        "allocate,o,LAMP,2,TRUE,2030-01-31,,,\n"
        "change-line-quantity,o,LAMP,3,,,2,,\n"
        "change-batch-eta,,,,,,,b,null\n"
        "change-batch-eta,,,,,,,b,\n"
    )
    allocate, change, arrived, forgotten = CommandFile(write(tmp_path, text)).rows()
    assert isinstance(allocate, GoodRow)
    assert allocate.command == Allocate(orderid="o", sku="LAMP", qty=2, wait=True, needed_by=date(2030, 1, 31))
    assert isinstance(change, GoodRow)
    assert change.command == ChangeLineQuantity(orderid="o", sku="LAMP", qty=3, from_qty=2)
    assert isinstance(arrived, GoodRow)
    assert arrived.command == ChangeBatchEta(batchref="b", eta=None)
    assert isinstance(forgotten, BadRow)
    assert "row 5, column eta" in forgotten.sentence


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("orderid;sku;qty\no1;CHAIR;3\no2;TABLE, round;1\n", "orders.csv"),
        ("orderid\tsku\tqty\r\no1\tCHAIR\t3\r\no2\tTABLE, round\t1\r\n", "orders.csv"),
        ("orderid\tsku\tqty\no1\tCHAIR\t3\no2\tTABLE, round\t1\n", "orders.tsv"),
        ('\ufefforderid;"a, b, c, d";sku;qty\no1;;CHAIR;3\no2;x;"TABLE, round";1\n', "orders.csv"),
    ],
)
def test_semicolons_and_tabs_separate_cells_as_well(tmp_path: Path, text: str, name: str) -> None:
    rows = list(CommandFile(write(tmp_path, text, name), type_="allocate").rows())
    assert rows == [
        GoodRow(2, Allocate(orderid="o1", sku="CHAIR", qty=3)),
        GoodRow(3, Allocate(orderid="o2", sku="TABLE, round", qty=1)),
    ]


def test_empty_columns_and_rows_at_the_end_are_no_error(tmp_path: Path) -> None:
    text = "orderid,sku,,qty,,\no1,CHAIR,,3,,\no2,CHAIR,?,4,,,,\no3,CHAIR,,5\n,,,,,\n,,,\n"
    file = CommandFile(write(tmp_path, text), type_="allocate")
    assert [row.number for row in file.rows() if isinstance(row, GoodRow)] == [2, 3, 4]
    assert sentences(file) == []
    assert file.survey().unused == {"(column 3)"}


def test_a_cell_beyond_the_header_is_an_error_still(tmp_path: Path) -> None:
    file = CommandFile(write(tmp_path, "orderid,sku,qty,\no1,CHAIR,3,,x,,\n"), type_="allocate")
    assert sentences(file) == ["row 2: it has 5 cells, and the header 3."]


def test_two_rows_that_name_one_line_are_refused_with_the_way_out(tmp_path: Path) -> None:
    text = "orderid,sku,qty\no1,CHAIR,3\no2,CHAIR,3\no1,CHAIR,3\no1,CHAIR,1\n"
    file = CommandFile(write(tmp_path, text), type_="allocate")
    ending = (
        "both order the line of order 'o1', SKU 'CHAIR', so only one would get stock; if they are two lines, "
        "tell them apart: --column lineid=#row."
    )
    assert sentences(file) == [f"rows 2 and 4: {ending}", f"rows 2 and 5: {ending}"]
    told_apart = CommandFile(write(tmp_path, text), type_="allocate", columns={"lineid": "#row"})
    assert [row.number for row in told_apart.rows() if isinstance(row, GoodRow)] == [2, 3, 4, 5]


def test_two_rows_that_cancel_one_line_or_create_one_batch_are_refused(tmp_path: Path) -> None:
    text = (
        '{"type":"create-batch","batchref":"b1","sku":"CHAIR","qty":9}\n'
        '{"type":"allocate","orderid":"o1","sku":"CHAIR","qty":3,"lineid":"1"}\n'
        '{"type":"deallocate","orderid":"o1","sku":"CHAIR","lineid":"1"}\n'
        '{"type":"deallocate","orderid":"o1","sku":"CHAIR","lineid":"1"}\n'
        '{"type":"create-batch","batchref":"b1","sku":"TABLE","qty":9}\n'
        '{"type":"change-batch-quantity","batchref":"b1","qty":8}\n'
        '{"type":"change-batch-quantity","batchref":"b1","qty":9}\n'
    )
    assert sentences(CommandFile(write(tmp_path, text, "mixed.jsonl"))) == [
        (
            "rows 3 and 4: both cancel the line of order 'o1', SKU 'CHAIR', lineid '1'; leave one of them out, or name "
            "the column that tells lines apart: --column lineid=NAME."
        ),
        "rows 1 and 5: both create batch 'b1'; give each batch a batchref of its own.",
    ]


def test_a_survey_counts_the_rows_and_tells_of_the_first_bad_ones(tmp_path: Path) -> None:
    rows = [f"o{number},CHAIR,{number % 2},red\n" for number in range(40)]
    survey = CommandFile(write(tmp_path, "orderid,sku,qty,colour\n" + "".join(rows)), type_="allocate").survey()
    assert (survey.good, survey.bad, survey.unused) == (20, 20, {"colour"})
    assert len(survey.error_report.splitlines()) == 11
    assert survey.error_report.endswith("... and 10 more bad rows.")


def test_the_digest_follows_from_the_commands_and_their_rows_alone(tmp_path: Path) -> None:
    def digest(text: str, name: str = "a.csv", **columns: str) -> str:
        return CommandFile(write(tmp_path, text, name), type_="allocate", columns=columns).survey().digest

    first = digest("orderid,sku,qty\no1,CHAIR,3\no2,CHAIR,1\n")
    assert first == digest("n,orderid,sku,extra\r\n3,o1,CHAIR,x\r\n1,o2,CHAIR,y\r\n", "b.csv", qty="n")
    others = [
        digest("orderid,sku,qty\no1,CHAIR,3\no2,CHAIR,2\n"),
        digest("orderid,sku,qty\no1,CHAIR,3\n\no2,CHAIR,1\n"),
        digest("orderid,sku,qty\no2,CHAIR,1\no1,CHAIR,3\n"),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    "text",
    [
        "orderid,sku,qty\no,CHAIR,1\n",
        '\n {"orderid": "o", "sku": "CHAIR", "qty": 1}\n',
        "\ufefforderid,sku,qty\no,CHAIR,1",
    ],
)
def test_a_stream_can_be_read_twice_and_tells_its_format_by_its_start(text: str) -> None:
    with spooled(io.BytesIO(text.encode())) as path:
        file = CommandFile(path, type_="allocate", name="standard input")
        assert (file.survey().good, len(list(file.rows())), file.name) == (1, 1, "standard input")
