"""A fleet's authority without a broker: what certificates say, which names there are, what is never overwritten."""

import datetime
import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from edgeward.enrollment import authority, devices, index, mosquitto, settings
from edgeward.enrollment import folder as folders
from edgeward.enrollment.folder import Fleet
from edgeward.monitor import config as monitor_configs
from edgeward_runtimes.agent import config as agent_configs
from edgeward_runtimes.errors import ConfigError
from tests.conftest import Cli

CHOSEN = settings.make("plant", ("broker.example.org", "10.0.0.2"))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return folders.init(tmp_path / "plant", CHOSEN, days=30)


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_certificates_are_good_for_one_side_and_for_their_time(fleet: Fleet) -> None:
    place = devices.enroll(fleet, "d", None, days=10)
    device, server = _certificate(place / "device.pem"), _certificate(fleet.folder / "broker" / "server.pem")
    ca = _certificate(fleet.folder / "authority" / "ca.pem")
    assert _usages(device) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert _usages(server) == [ExtendedKeyUsageOID.SERVER_AUTH]
    for certificate in (device, server):
        certificate.verify_directly_issued_by(ca)
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))} == {
        "broker.example.org", "10.0.0.2", "127.0.0.1", "localhost",
    }  # fmt: skip
    lasts = device.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=9) < lasts <= datetime.timedelta(days=10)


def test_no_certificate_outlives_its_authority(fleet: Fleet) -> None:
    place = devices.enroll(fleet, "d", None, days=3650 * 2)
    ca = _certificate(fleet.folder / "authority" / "ca.pem")
    assert _certificate(place / "device.pem").not_valid_after_utc == ca.not_valid_after_utc


def test_keys_are_their_owners_alone(fleet: Fleet) -> None:
    devices.enroll(fleet, "d", None)
    keys = list(fleet.folder.rglob("*.key"))
    assert len(keys) == 4
    for path in (*keys, fleet.index):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in ("authority", "monitor", "devices/d"):
        assert stat.S_IMODE((fleet.folder / folder).stat().st_mode) == 0o700


def test_the_files_that_are_made_are_read_by_agent_and_monitor(fleet: Fleet) -> None:
    place = devices.enroll(fleet, "d", None)
    agent = agent_configs.read(place / "agent.toml")
    assert (agent.fleet, agent.device, agent.broker) == ("plant", "d", "mqtts://broker.example.org:8883")
    assert agent.key == str(place / "device.key")
    monitor = monitor_configs.read(fleet.folder / "monitor" / "monitor.toml")
    assert (monitor.host_id, monitor.broker.embedded) == (agent.host_id, False)
    assert monitor.broker.url == "mqtts://127.0.0.1:8884"
    assert monitor.broker.certificate == str(fleet.folder / "monitor" / "monitor.pem")


@given(st.text(max_size=70))
def test_a_name_that_means_more_than_itself_is_refused(name: str) -> None:
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    good = 1 <= len(name) <= 64 and name[0] in plain and all(sign in plain + "._-" for sign in name)
    if good:
        settings.check_device(name)
        assert f"user {name}\n" in mosquitto.access(CHOSEN, [name])
    else:
        with pytest.raises(ConfigError, match="cannot be a device's name"):
            settings.check_device(name)


@pytest.mark.parametrize("name", ["+", "#", "a/b", "a\nuser b", "a%u", "", ".", "..", "-a", "ü", "a" * 65, "d\n"])
def test_names_with_a_meaning(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a device's name"):
        settings.check_device(name)


@pytest.mark.parametrize("name", [settings.BROKER, settings.MONITOR])
def test_a_device_cannot_be_called_as_broker_or_monitor(name: str) -> None:
    with pytest.raises(ConfigError, match=r"it is that of the (broker|monitor)\."):
        settings.check_device(name)


@pytest.mark.parametrize("host", ["", "a b", "a\nlistener 1883", "a..b", "x" * 64, "mqtt://h", "[::1]", "fe80::1%e"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="neither an IP address nor a host name"):
        settings.make("plant", (host,))


def test_nothing_is_overwritten(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already, and not empty"):
        folders.init(fleet.folder, CHOSEN, days=30)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ConfigError, match="is there already, and not empty"):
        devices.enroll(fleet, "d", tmp_path / "taken")
    assert "d" not in index.read(fleet.index).names()
    first = devices.enroll(fleet, "d", None)
    with pytest.raises(ConfigError, match=r"d is enrolled until 20..-..-..\. `edgeward fleet renew d`"):
        devices.enroll(fleet, "d", tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["plant", "taken"]
    assert first.is_dir()


def test_renewing_gives_another_certificate_and_both_can_be_revoked(fleet: Fleet) -> None:
    place = devices.enroll(fleet, "d", None)
    before = _certificate(place / "device.pem")
    devices.renew(fleet, "d", None)
    after = _certificate(place / "device.pem")
    assert before.public_key() != after.public_key()
    devices.revoke(fleet, "d")
    listed = x509.load_pem_x509_crl((fleet.folder / "broker" / "crl.pem").read_bytes())
    assert {entry.serial_number for entry in listed} == {before.serial_number, after.serial_number}
    assert "user d\ntopic deny #" in (fleet.folder / "broker" / "acl").read_text()
    with pytest.raises(ConfigError, match="no certificate that is good"):
        devices.renew(fleet, "d", None)


def test_a_certificate_is_known_before_it_is_given(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(authority, "issue", die)
    with pytest.raises(KeyboardInterrupt):
        devices.enroll(fleet, "d", None)
    monkeypatch.undo()
    assert not (fleet.folder / "devices" / "d").exists()
    [entry] = [entry for entry in index.read(fleet.index).entries if entry.name == "d"]
    devices.revoke(fleet, "d")
    listed = x509.load_pem_x509_crl((fleet.folder / "broker" / "crl.pem").read_bytes())
    assert listed.get_revoked_certificate_by_serial_number(int(entry.serial, 16)) is not None


@given(st.lists(st.integers(0, 3), max_size=12))
def test_every_list_of_revocations_is_later_than_the_one_before_and_in_the_past(pauses: list[int]) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    ours = authority.make_authority("plant", now)
    previous = None
    for pause in pauses:
        now += datetime.timedelta(seconds=pause)
        listed, at = authority.revocations(ours, [], now, previous)
        assert authority.date_of(listed) == at
        assert previous is None or at > previous
        assert at < now
        previous = at


def test_an_encrypted_authority_needs_its_password(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "plant"
    monkeypatch.setenv("EDGEWARD_CA_PASSWORD", "secret")
    assert cli("fleet", "init", place, "--host", "10.0.0.2", "--encrypt")[0] == 0
    assert folders.open_fleet(place).is_encrypted
    assert cli("fleet", "enroll", "d", "--folder", place)[0] == 0
    monkeypatch.setenv("EDGEWARD_CA_PASSWORD", "wrong")
    code, _, err = cli("fleet", "enroll", "e", "--folder", place)
    assert (code, "a wrong password" in err) == (2, True)
    with pytest.raises(ConfigError, match="encrypted: give its password"):
        folders.open_fleet(place).authority(None)


def test_a_fleet_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(folders, "write_access", fail)
    with pytest.raises(OSError, match="disk full"):
        folders.init(tmp_path / "plant", CHOSEN, days=30)
    assert list(tmp_path.iterdir()) == []
