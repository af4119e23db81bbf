"""Files on their way to a device: whole, not twice, and from where they broke off; over ssh, adb and in a folder."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports import FileStat, Transport, open_transport
from edgeward_targets.transports.adb import AdbTransport
from edgeward_targets.transports.local import LocalTransport
from edgeward_targets.transports.sending import Sent, describe, send


class FakeAdb:
    """Stands in for adbutils' device, as there is no Android here: commands and pushes end in this machine's folders.

    It keeps to what adbutils 2.12 offers of `AdbDevice`: `shell2` and `sync.push`, `sync.read_bytes`. After
    `unplug_after` pushes it is gone, as when the cable is pulled.
    """

    def __init__(self, unplug_after: int | None = None) -> None:
        self.pushes = 0
        self.unplug_after = unplug_after
        self.sync = SimpleNamespace(push=self._push, read_bytes=lambda path: Path(path).read_bytes())

    def shell2(self, command: list[str], timeout: None, encoding: None, v2: bool) -> SimpleNamespace:
        done = subprocess.run(command, capture_output=True, check=False)
        return SimpleNamespace(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def _push(self, source, path: str, mode: int) -> int:
        import adbutils

        if self.pushes == self.unplug_after:
            raise adbutils.AdbError("device 'emulator-5554' not found")
        self.pushes += 1
        with Path(path).open("wb") as file:
            shutil.copyfileobj(source, file)
        return 0


@pytest.fixture(params=["local", "adb"])
def transport(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Transport:
    if request.param == "local":
        return LocalTransport(tmp_path / "device")
    monkeypatch.setattr("edgeward_targets.transports.adb._PIECE_BYTES", 1000)
    return AdbTransport(f"adb://emulator-5554?home={tmp_path}/device", FakeAdb())


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "here"
    path.write_bytes(os.urandom(10_000))
    return path


def test_a_file_arrives_whole_for_its_owner_alone_and_comes_back(transport, local: Path, tmp_path: Path) -> None:
    assert transport.put(local, "incoming/there") == 10_000
    there = tmp_path / "device/incoming/there"
    assert there.read_bytes() == local.read_bytes()
    assert there.stat().st_mode & 0o777 == 0o600
    assert transport.stat("incoming/there") == describe(local)
    transport.get("incoming/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    transport.remove("incoming/there")
    assert transport.stat("incoming/there") is None
    transport.remove("incoming/there")


def test_a_file_that_is_there_is_not_sent(transport, local: Path) -> None:
    transport.put(local, "there")
    told: list[tuple[int, int]] = []
    assert transport.put(local, "there", lambda *each: told.append(each)) == 0
    assert told == [(10_000, 10_000)]


@settings(max_examples=25)
@given(cut=st.integers(0, 10_000), damage=st.booleans())
def test_what_arrived_before_is_kept_if_it_is_ours(
    transport, local: Path, tmp_path: Path, cut: int, damage: bool
) -> None:
    content = local.read_bytes()
    partial = tmp_path / f"device/x/there.{describe(local).sha256[:16]}.part"
    partial.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "device/x/there").unlink(missing_ok=True)
    partial.write_bytes(bytes([content[0] ^ 1]) + content[1:cut] if damage and cut else content[:cut])
    travelled = transport.put(local, "x/there")
    assert travelled == (10_000 if damage and cut else 10_000 - cut)
    assert (tmp_path / "device/x/there").read_bytes() == content
    assert not partial.exists()


def test_a_cable_that_is_pulled_costs_one_piece(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeward_targets.transports.adb._PIECE_BYTES", 1000)
    url = f"adb://emulator-5554?home={tmp_path}/device"
    with pytest.raises(DeviceError, match=r"out of reach: device 'emulator-5554' not found.*adb devices"):
        AdbTransport(url, FakeAdb(unplug_after=7)).put(local, "there")
    assert AdbTransport(url, FakeAdb()).put(local, "there") == 3000
    assert (tmp_path / "device/there").read_bytes() == local.read_bytes()


def test_what_arrives_damaged_never_gets_its_name(local: Path) -> None:
    class Damaging:
        """The other side, with a bad memory."""

        def __init__(self) -> None:
            self.files: dict[str, bytes] = {}

        def stat(self, path: str) -> FileStat | None:
            content = self.files.get(path)
            return None if content is None else FileStat(len(content), "0" * 64)

        def extend(self, path, offset, stream, sent) -> None:
            self.files[path] = stream.read()

        def publish(self, partial: str, path: str) -> None:
            raise AssertionError("it was published")

        def remove(self, path: str) -> None:
            del self.files[path]

    other = Damaging()
    with pytest.raises(DeviceError, match="arrived damaged"):
        send(other, local, "/there", Sent(None))
    assert other.files == {}


def test_a_file_of_ours_that_cannot_be_read_is_a_device_error(transport, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        transport.put(tmp_path / "absent", "there")


def test_without_an_adb_server_the_refusal_says_where_to_look(
    monkeypatch: pytest.MonkeyPatch, free_port: Callable
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="adb devices"):
        open_transport("adb://emulator-5554").run(["true"])
