"""What is set and is no setting, and what is set wrong, is named before anything starts."""

import os
from pathlib import Path

import pytest

from allocation_worker.bootstrap.addresses import BrokerUrls, database_url
from allocation_worker.bootstrap.settings import in_force
from allocation_worker.config import SettingsError, load, opentelemetry_is_wanted


def test_a_misspelt_setting_is_refused_with_the_name_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_AMPQ_URL", "amqp://shop:secret@broker/")

    with pytest.raises(SettingsError, match=r"^ALLOCATION_AMPQ_URL is no setting: .*ALLOCATION_AMQP_URL") as refused:
        load()

    assert "secret" not in str(refused.value)


def test_a_name_that_is_like_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_XYZZY", "1")

    with pytest.raises(SettingsError, match=r"^ALLOCATION_XYZZY is no setting: .*remove it\.$"):
        load()


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_PREFECH", "5")
    monkeypatch.setenv("ALLOCATION_GROUP_LIMIT", "0")
    monkeypatch.setenv("ALLOCATION_LOG_LEVEL", "loud")

    with pytest.raises(SettingsError) as refused:
        load()

    for name in (
        "ALLOCATION_PREFECH is no setting",
        "ALLOCATION_GROUP_LIMIT is wrong",
        "ALLOCATION_LOG_LEVEL is wrong",
    ):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "ALLOCATION_SERVICE_HOST",
        "ALLOCATION_SERVICE_PORT_AMQP",
        "ALLOCATION_DB_PORT",
        "ALLOCATION_DB_PORT_5432_TCP_ADDR",
        "ALLOCATION_TEST_SERVERS",
        "ALLOCATION_SERVERS_FOLDER",
    ],
)
def test_what_kubernetes_and_the_test_kit_set_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")

    load()


ONE, OTHER = "postgresql://me:canary@one/shop", "postgresql://me:canary@other/shop"


def test_a_setting_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "database"
    file.write_text(f"{ONE}\n")
    monkeypatch.setenv("ALLOCATION_DATABASE_URL_FILE", str(file))

    settings = load()

    assert (settings.database_url, settings.source("database_url")) == (ONE, str(file))


def test_a_setting_can_come_from_the_secrets_folder_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "allocation_database_url").write_text(ONE)
    (tmp_path / "ALLOCATION_GROUP_LIMIT").write_text("7")
    (tmp_path / "of-somebody-else").write_text("x")
    monkeypatch.setenv("ALLOCATION_SECRETS_FOLDER", str(tmp_path))
    monkeypatch.setenv("ALLOCATION_GROUP_LIMIT", "8")

    settings = load()

    assert (settings.database_url, settings.group_limit) == (ONE, 8)
    assert (settings.source("group_limit"), settings.source("prefetch")) == ("environment", "default")


def test_faults_of_files_are_told_without_what_they_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "allocation_databse_url").write_text(ONE)
    (tmp_path / "bytes").write_bytes(b"canary\xff")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "limit").write_text("canary")
    monkeypatch.setenv("ALLOCATION_SECRETS_FOLDER", str(tmp_path))
    monkeypatch.setenv("ALLOCATION_AMQP_URL_FILE", str(tmp_path / "bytes"))
    monkeypatch.setenv("ALLOCATION_REDIS_URL_FILE", str(tmp_path / "empty"))
    monkeypatch.setenv("ALLOCATION_PREFETCH_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("ALLOCATION_PREFECH_FILE", str(tmp_path / "limit"))
    monkeypatch.setenv("ALLOCATION_GROUP_LIMIT_FILE", str(tmp_path / "limit"))
    monkeypatch.setenv("ALLOCATION_LOG_LEVEL_FILE", str(tmp_path / "limit"))
    monkeypatch.setenv("ALLOCATION_LOG_LEVEL", "info")

    with pytest.raises(SettingsError) as refused:
        load()

    for sentence in (
        f"{tmp_path}/allocation_databse_url is no setting: perhaps ALLOCATION_DATABASE_URL was meant",
        "ALLOCATION_PREFECH_FILE is no setting: perhaps ALLOCATION_PREFETCH_FILE was meant",
        f"ALLOCATION_AMQP_URL cannot be read from the file {tmp_path}/bytes: it is not UTF-8.",
        f"ALLOCATION_REDIS_URL cannot be read from the file {tmp_path}/empty: it is empty.",
        f"ALLOCATION_PREFETCH cannot be read from the file {tmp_path}/missing: No such file or directory.",
        "ALLOCATION_GROUP_LIMIT is wrong: ",
        "ALLOCATION_LOG_LEVEL is given twice: by itself, and by ALLOCATION_LOG_LEVEL_FILE; remove one of them.",
    ):
        assert sentence in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_missing_secrets_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALLOCATION_SECRETS_FOLDER", str(tmp_path / "nowhere"))

    with pytest.raises(SettingsError, match=r"^ALLOCATION_SECRETS_FOLDER is wrong: the folder .* cannot be read"):
        load()


def test_an_address_from_a_file_is_read_again_and_the_last_good_one_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "allocation_database_url").write_text(ONE)
    (tmp_path / "allocation_amqp_url").write_text("amqp://a/,amqp://b/")
    monkeypatch.setenv("ALLOCATION_SECRETS_FOLDER", str(tmp_path))
    settings = load()
    database, brokers = database_url(settings), BrokerUrls(settings)
    assert (database(), list(brokers)) == (ONE, ["amqp://a/", "amqp://b/"])

    (tmp_path / "allocation_database_url").write_text(OTHER)
    (tmp_path / "allocation_amqp_url").write_text("amqp://c/")
    assert (database(), list(brokers), len(brokers), brokers[0]) == (OTHER, ["amqp://c/"], 1, "amqp://c/")

    (tmp_path / "allocation_database_url").write_text("postgresql://me:a@b@c/shop")
    (tmp_path / "allocation_amqp_url").unlink()
    assert (database(), list(brokers)) == (OTHER, ["amqp://c/"])


def test_what_is_in_force_is_shown_without_passwords() -> None:
    settings = load(
        amqp_url="amqp://me:canary@a/shop,amqps://me:x@b/shop?password=canary",
        database_url="postgresql://me@db/shop?password=canary&sslpassword=canary",
        redis_url="rediss://cache?password=canary",
    )

    shown = {each.name: each.value for each in in_force(settings)}

    assert shown["ALLOCATION_AMQP_URL"] == "amqp://me:***@a:5672/shop,amqps://me:***@b:5671/shop"
    assert shown["ALLOCATION_RETRY_DELAYS"] == "1,5,30"
    assert "canary" not in str(shown)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318/v1/metrics"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_opentelemetry_is_on_if_one_of_its_variables_says_where_to(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert opentelemetry_is_wanted() is wanted


@pytest.mark.parametrize(
    ("inbox_days", "days", "sentence"),
    [
        (
            "10",
            "9",
            "ALLOCATION_LINES_DAYS is wrong: it must be 0, or not fewer than ALLOCATION_HISTORY_DAYS, which is 30.",
        ),
        (
            "40",
            "9",
            "ALLOCATION_LINES_DAYS is wrong: it must be 0, or not fewer than ALLOCATION_INBOX_DAYS, which is 40.",
        ),
    ],
)
def test_lines_are_not_kept_for_a_shorter_time_than_what_tells_of_them(
    monkeypatch: pytest.MonkeyPatch, inbox_days: str, days: str, sentence: str
) -> None:
    monkeypatch.setenv("ALLOCATION_INBOX_DAYS", inbox_days)
    monkeypatch.setenv("ALLOCATION_LINES_DAYS", days)
    with pytest.raises(SettingsError) as error:
        load()
    assert str(error.value) == sentence


@pytest.mark.parametrize("days", [0, 30, 3650])
def test_lines_are_kept_for_ever_or_as_long_as_their_history(days: int) -> None:
    assert load(lines_days=days).lines_days == days
