"""Settings: from the environment or from secret files, all problems at once, never a value in an error."""

import os
from pathlib import Path

import pytest

from services.follow_up.settings import MessageSettings
from services.runtime.settings import (
    DatabaseSettings,
    Environment,
    HttpSettings,
    KafkaSettings,
    ProcessSettings,
    SettingsError,
    SmtpSettings,
    load,
    load_service,
    role_of,
)

GOOD = {
    "TELEMED_DATABASE_URL": "postgresql://someone@db:5432/clinic",
    "TELEMED_KAFKA_BOOTSTRAP": "broker:9092",
    "TELEMED_SMTP_URL": "smtp://mail:25",
    "TELEMED_HTTP_PORT": "8001",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TELEMED_"):
            monkeypatch.delenv(name)


def given(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_a_service_starts_from_four_variables_and_is_in_production_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, **GOOD)
    settings = load_service()
    assert settings.process.env is Environment.PRODUCTION
    assert settings.http.port == 8001
    assert settings.kafka.bootstrap == "broker:9092"
    assert settings.kafka.partitions == 12


def test_every_problem_of_every_section_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEMED_HTTP_PORT="70000", TELEMED_MESSAGING_POLL_S="-1", TELEMED_KAFKA_PARTITIONS="many")
    with pytest.raises(SettingsError) as caught:
        load_service()
    text = str(caught.value)
    for variable in (
        "TELEMED_DATABASE_URL",
        "TELEMED_KAFKA_BOOTSTRAP",
        "TELEMED_KAFKA_PARTITIONS",
        "TELEMED_SMTP_URL",
        "TELEMED_HTTP_PORT",
        "TELEMED_MESSAGING_POLL_S",
    ):
        assert f"{variable}: " in text


def test_no_value_stands_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "c4n4ry"
    wrong = dict.fromkeys((*GOOD, "TELEMED_KAFKA_PARTITIONS", "TELEMED_MESSAGING_POLL_S", "TELEMED_ENV"), secret)
    given(monkeypatch, **wrong, TELEMED_KAFKA_SECURITY_PROTOCOL=secret, TELEMED_FAILPOINTS=secret)
    with pytest.raises(SettingsError) as caught:
        load_service()
    assert secret not in str(caught.value)
    assert secret not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_no_secret_stands_in_the_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEMED_DATABASE_URL="postgresql://u:c4n4ry@db/clinic", TELEMED_DATABASE_PASSWORD="c4n4ry")
    settings = load(DatabaseSettings)
    assert "c4n4ry" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.dsn() == "postgresql://u:c4n4ry@db/clinic"


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    password, url = tmp_path / "password", tmp_path / "url"
    password.write_text("p@ss/word #1\n")
    url.write_text("postgresql://someone@[::1]:5433/clinic")
    given(monkeypatch, TELEMED_DATABASE_URL_FILE=str(url), TELEMED_DATABASE_PASSWORD_FILE=str(password))
    assert load(DatabaseSettings).dsn() == "postgresql://someone:p%40ss%2Fword%20%231@[::1]:5433/clinic"


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://c4n4ry@db/clinic")
    given(monkeypatch, TELEMED_DATABASE_URL="postgresql://c4n4ry@db/clinic", TELEMED_DATABASE_URL_FILE=str(tmp_path / "url"))
    with pytest.raises(SettingsError, match="TELEMED_DATABASE_URL and TELEMED_DATABASE_URL_FILE are both set") as caught:
        load(DatabaseSettings)
    assert "c4n4ry" not in str(caught.value)


def test_a_secret_file_that_cannot_be_read_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, TELEMED_DATABASE_URL_FILE=str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="TELEMED_DATABASE_URL_FILE cannot be read: No such file"):
        load(DatabaseSettings)


def test_a_secret_file_that_is_not_text_is_a_settings_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_bytes(b"\xff\xfe\x00")
    given(monkeypatch, TELEMED_DATABASE_URL_FILE=str(tmp_path / "url"))
    with pytest.raises(SettingsError, match="TELEMED_DATABASE_URL_FILE is not UTF-8 text") as caught:
        load(DatabaseSettings)
    assert caught.value.__suppress_context__  # whose text would show bytes of the secret


def test_a_setting_that_is_a_path_is_not_taken_for_a_secret_file(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEMED_KAFKA_BOOTSTRAP="b:1", TELEMED_KAFKA_CA_FILE="/etc/ca.pem")
    assert load(KafkaSettings).ca_file == Path("/etc/ca.pem")


@pytest.mark.parametrize("environment", [None, "production"])
def test_failpoints_are_refused_in_production(monkeypatch: pytest.MonkeyPatch, environment: str | None) -> None:
    given(monkeypatch, TELEMED_FAILPOINTS="relay.after_send=kill")
    if environment:
        given(monkeypatch, TELEMED_ENV=environment)
    with pytest.raises(SettingsError, match="failpoints are refused in production"):
        load(ProcessSettings)


def test_failpoints_are_taken_by_a_local_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEMED_ENV="local", TELEMED_FAILPOINTS="relay.after_send=kill")
    assert load(ProcessSettings).failpoints == "relay.after_send=kill"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"TELEMED_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "needs sasl_mechanism, username and password"),
        ({"TELEMED_KAFKA_CERT_FILE": "/c.pem"}, "needs both cert_file and key_file"),
        ({"TELEMED_KAFKA_MIN_INSYNC_REPLICAS": "2"}, "larger than replication"),
        ({"TELEMED_KAFKA_TOPIC_PREFIX": "Not A Prefix"}, "TELEMED_KAFKA_TOPIC_PREFIX"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], problem: str
) -> None:
    given(monkeypatch, TELEMED_KAFKA_BOOTSTRAP="b:1", **values)
    with pytest.raises(SettingsError, match=problem):
        load(KafkaSettings)


def test_settings_do_not_change_after_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **GOOD)
    settings = load(HttpSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_the_same_server_as_another_role_never_inherits_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEMED_DATABASE_URL="postgresql://owner:c4n4ry@db:5432/clinic?sslmode=require")
    settings = load(DatabaseSettings)
    assert settings.dsn(user=role_of("ledger"), password="own") == (
        "postgresql://telemed_ledger:own@db:5432/clinic?sslmode=require"
    )
    assert "c4n4ry" not in settings.dsn(user=role_of("ledger"))


def test_mail_settings_have_an_operator_who_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **GOOD)
    assert load(SmtpSettings).operator


def test_a_clinic_in_production_names_itself_to_its_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"CLINIC": "Oak Street", "PHONE": "+1 212 555 0143", "OUT_OF_HOURS": "+1 212 555 0144"}
    given(monkeypatch, **{f"TELEMED_MESSAGES_{name}": value for name, value in told.items()})
    with pytest.raises(SettingsError, match=r"TELEMED_MESSAGES: .*production must say its own link_url"):
        load(MessageSettings)
    given(monkeypatch, TELEMED_MESSAGES_LINK_URL="https://oak.example/link")
    assert load(MessageSettings).phone == "+1 212 555 0143"


def test_a_local_stack_has_an_example_of_a_clinic(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEMED_ENV="local")
    assert load(MessageSettings).phone == "+1 555 0100"
