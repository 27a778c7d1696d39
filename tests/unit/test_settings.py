"""What is set and is no setting, and what is set wrong, is named before anything starts."""

import pytest

from allocation_worker.config import SettingsError, load


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
        "ALLOCATION_MANAGEMENT_URL",
    ],
)
def test_what_kubernetes_and_the_test_kit_set_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")

    load()
