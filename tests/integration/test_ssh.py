"""Devices behind a real OpenSSH server: what is promised of ssh:// holds there."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from edgeward_runtimes.errors import DeviceError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.slots import Slots
from edgeward_targets.device import Device
from edgeward_targets.many import at_once
from edgeward_targets.transports import address, open_transport
from edgeward_targets.transports.ssh import SshTransport
from tests.conftest import Cli, free_port, wait_for
from tests.registries import Publisher
from tests.sshd import Line, Sshd, running_sshd

Make = Callable[..., Path]
SPARE = 24 * 2**20  # bytes of a file that a line is cut in


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd"), free_port(), PYTHONPATH=str(plugin)) as server:
        yield server


def _url(sshd: Sshd, home: Path, **options: object) -> str:
    return sshd.url(home, python=sys.executable, **options)  # type: ignore[arg-type]


def test_flash_status_and_rollback_over_ssh(sshd: Sshd, multiply_bundle: Make, cli: Cli, tmp_path: Path) -> None:
    url = _url(sshd, tmp_path / "device")
    assert cli("flash", multiply_bundle("1.0.0"), url)[0] == 0
    code, out, _ = cli("flash", multiply_bundle("1.1.0"), url, "--json")
    assert code == 0
    installed = json.loads(out)
    assert installed["release"].startswith("1.1.0-")
    assert cli("rollback", url, "toy")[0] == 0
    code, out, _ = cli("status", url, "--json")
    models = json.loads(out)["models"]
    assert [(each["release"], each["previous"]) for each in models] == [(installed["replaced"], installed["release"])]
    code, out, _ = cli("status", url, "--journal", "--json")
    assert [each["action"] for each in json.loads(out)["journal"]["toy"]] == ["install", "install", "rollback"]
    assert not list((tmp_path / "device" / "incoming").iterdir())


def test_bench_and_verify_run_there(sshd: Sshd, multiply_bundle: Make, cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("bench", multiply_bundle(), "--device", _url(sshd, tmp_path / "device"), "--json")
    assert code == 0
    assert json.loads(out)["variants"][0]["p50_ms"] > 0


def test_a_host_that_is_not_known_is_refused_with_its_fingerprint_and_what_adds_it(sshd: Sshd, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    url = sshd.url(tmp_path / "device", python=sys.executable, known_hosts=str(nobody))
    with pytest.raises(DeviceError, match=r"shows the ssh-ed25519 host key SHA256:\S+, which is not in") as refused:
        Device(url).status()
    command = str(refused.value).rpartition("add it: ")[2]
    assert os.system(command) == 0  # the very command that the message gives
    with Device(url) as device:
        assert device.status().models == ()


def test_a_host_with_another_key_than_the_known_one_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    kind, key, *_ = (sshd.folder / "other_key.pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    url = sshd.url(tmp_path / "device", python=sys.executable, known_hosts=str(known))
    with pytest.raises(DeviceError, match="has another one for it"):
        Device(url).status()
    assert known.read_text().count("\n") == 1
    assert not (tmp_path / "device").exists()


def test_a_key_that_the_device_does_not_know_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    url = sshd.url(tmp_path / "device", python=sys.executable, key=str(sshd.folder / "other_key"))
    with pytest.raises(DeviceError, match="ssh-copy-id"):
        Device(url).status()


def test_a_device_without_edgeward_says_what_brings_it_there(sshd: Sshd, tmp_path: Path) -> None:
    url = sshd.url(tmp_path / "device", python="/usr/bin/false")
    with pytest.raises(DeviceError, match="failed"):
        Device(url).status()
    with pytest.raises(DeviceError, match="edgeward provision ssh://"):
        Device(sshd.url(tmp_path / "device", python="/nowhere/python")).status()


def test_a_device_behind_another_is_reached_through_it(sshd: Sshd, tmp_path: Path) -> None:
    url = _url(sshd, tmp_path / "device", jump=f"{sshd.user}@127.0.0.1:{sshd.port}")
    with Device(url) as device:
        assert device.status().home == str(tmp_path / "device")


def test_arguments_reach_the_program_as_they_are(sshd: Sshd, tmp_path: Path) -> None:
    odd = ["a b", "$(touch pwned)", "'; rm -rf x; '", "*", "é\n\t", '"', ""]
    transport = open_transport(_url(sshd, tmp_path))
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    completed = transport.run([sys.executable, "-c", program, *odd], {"A": "x y; z"})
    assert json.loads(completed.stdout) == odd
    transport.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(SPARE))
    return path


def test_a_link_cut_in_mid_transfer_is_made_again_and_the_transfer_goes_on(
    sshd: Sshd, tmp_path: Path, large: Path
) -> None:
    line = Line(sshd.port, cut_after=SPARE // 2)
    sshd.know(line.port)
    transport = open_transport(_url(sshd, tmp_path / "device", port=line.port))
    told: list[tuple[int, int]] = []
    transport.put(large, "incoming/large", lambda *there_of_all: told.append(there_of_all))
    assert line.cuts == 1
    assert (tmp_path / "device" / "incoming" / "large").read_bytes() == large.read_bytes()
    assert line.carried < 1.3 * SPARE  # and not one and a half times
    assert told == sorted(told)
    assert told[-1] == (SPARE, SPARE)
    assert transport.put(large, "incoming/large") == 0  # it is there
    assert line.carried < 1.5 * SPARE
    transport.close()


def test_a_transfer_that_was_given_up_is_resumed_by_the_next(
    sshd: Sshd, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeward_targets.transports.ssh._ATTEMPTS", 1)
    line = Line(sshd.port, cut_after=SPARE // 2)
    sshd.know(line.port)
    url = _url(sshd, tmp_path / "device", port=line.port)
    with pytest.raises(DeviceError, match="out of reach"):
        open_transport(url).put(large, "incoming/large")
    assert not (tmp_path / "device" / "incoming" / "large").exists()
    transport = open_transport(url)
    travelled = transport.put(large, "incoming/large")
    assert travelled < 0.75 * SPARE
    stat = transport.stat("incoming/large")
    assert stat is not None
    assert stat.size_bytes == SPARE
    transport.get("incoming/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    transport.close()


def test_what_is_current_and_whole_is_not_sent_again(sshd: Sshd, multiply_bundle: Make, tmp_path: Path) -> None:
    line = Line(sshd.port, cut_after=None)
    sshd.know(line.port)
    bundle = multiply_bundle(ballast=os.urandom(200_000).hex())
    with Device(_url(sshd, tmp_path / "device", port=line.port)) as device:
        first = device.install(bundle)
        before = line.carried
        assert device.install(bundle).replaced == first.release
        assert line.carried - before < 20_000
        (tmp_path / "device/models/toy/current/variants/multiply-fp32.model").write_bytes(b"cut")
        device.install(bundle)  # mended
        assert line.carried - before > 200_000


def test_twenty_devices_are_flashed_at_once_and_a_bad_one_stops_no_other(
    sshd: Sshd, multiply_bundle: Make, cli: Cli, tmp_path: Path
) -> None:
    homes = [tmp_path / f"device-{number:02}" for number in range(20)]
    urls = [_url(sshd, home) for home in homes]
    bad = sshd.url(tmp_path / "bad", python="/nowhere/python")
    devices = [word for url in [*urls, bad] for word in ("--device", url)]
    code, out, err = cli("flash", multiply_bundle(), *devices, "--json")
    assert code == 1
    assert "1 of 21 devices failed" in err
    outcomes = json.loads(out)["devices"]
    assert [each["url"] for each in outcomes] == [*urls, bad]
    assert [each["error"] is None for each in outcomes] == [True] * 20 + [False]
    assert {Slots(Home.under(home), "toy").target("current") for home in homes} == {outcomes[0]["result"]["release"]}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ssh://user:secret@host", "use a key instead"),
        ("ssh://", "is not of the form"),
        ("ssh://host:99999", "is not of the form"),
        ("ssh://host/folder", "is not of the form"),
        ("ssh://host?home=relative", "begins with a slash"),
        ("ssh://host?colour=red", "takes home, python"),
        ("ftp://host", "can reach local:DIR, ssh://"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        open_transport(url)


def test_a_url_is_taken_apart() -> None:
    options = urlencode({"home": "/srv/edge ward", "jump": "a@first:1,second"})
    found = address.parse(f"ssh://pi@[fd00::7]:2222?{options}")
    assert found.hop == address.Hop("fd00::7", 2222, "pi")
    assert found.jumps == (address.Hop("first", 1, "a"), address.Hop("second"))
    assert found.home == "/srv/edge ward"
    assert SshTransport("ssh://host", address.parse("ssh://host")) is not None


def test_a_device_that_trusts_a_registry_takes_what_is_signed_alone(
    sshd: Sshd, multiply_bundle: Make, cli: Cli, tmp_path: Path
) -> None:
    home = Home.under(tmp_path / "device")
    publisher = Publisher.make(tmp_path)
    signed, unsigned = multiply_bundle("1.0.0"), multiply_bundle("1.1.0")
    publisher.add(signed)
    publisher.enroll(home)
    url = _url(sshd, home.root)
    code, _, err = cli("flash", unsigned, url, "--registry", publisher.folder)
    assert code == 2
    assert "is signed by nobody whom this device trusts" in err
    assert Slots(home, "toy").target("current") is None
    assert cli("flash", signed, url, "--registry", publisher.folder)[0] == 0
    publisher.add(unsigned)
    assert cli("flash", unsigned, url, "--registry", publisher.folder)[0] == 0
    assert cli("rollback", url, "toy")[0] == 0  # an operator may go back
    assert (Slots(home, "toy").target("current") or "").startswith("1.0.0-")


def test_what_runs_on_devices_ends_when_it_is_interrupted(sshd: Sshd, tmp_path: Path) -> None:
    urls = [_url(sshd, tmp_path / name) for name in ("one", "two")]
    running = threading.Barrier(3)
    outcomes: list[str | None] = []

    def sleep(device: Device) -> None:
        assert device.transport.place.home  # connected
        running.wait()
        device.transport.run(["sleep", "60"])

    class Interrupting(list):  # type: ignore[type-arg]
        """URLs; whoever has gone through them all is interrupted, when the devices are at work."""

        def __iter__(self):
            yield from super().__iter__()
            running.wait()
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        at_once(Interrupting(urls), sleep, ended=lambda outcome: outcomes.append(outcome.error))
    wait_for(lambda: len(outcomes) == 2, "both threads to end")
    assert time.monotonic() - begun < 30
    assert all(outcomes)  # an error each
