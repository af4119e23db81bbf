"""A device takes releases from the signed registry: whole, by delta, resumed, paced; and none that is older."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeward_runtimes.errors import NotEnrolledError, NotPublishedError, OlderReleaseError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.update.__main__ import main
from edgeward_runtimes.update.pace import Limits
from edgeward_runtimes.update.updating import fetch, install_from_registry
from tests.registries import HASTY, Publisher, Web, served

Make = Callable[..., Path]


@pytest.fixture
def publisher(tmp_path: Path, multiply_bundle: Make) -> Publisher:
    publisher = Publisher.make(tmp_path)
    publisher.add(multiply_bundle("1.0.0"))
    return publisher


@pytest.fixture
def web(publisher: Publisher) -> Iterator[Web]:
    with served(publisher.folder) as web:
        yield web


@pytest.fixture
def device(home: Home, publisher: Publisher, web: Web) -> Home:
    publisher.enroll(home, web.url)
    return home


def test_update_installs_the_latest_and_then_finds_nothing_to_do(
    device: Home, web: Web, publisher: Publisher, multiply_bundle: Make
) -> None:
    first = install_from_registry(device, "toy")
    assert first.release.startswith("1.0.0-")
    publisher.add(multiply_bundle("1.1.0"), multiply_bundle("1.2.0-rc1"))
    second = install_from_registry(device, "toy", "1.1.0")
    assert second.release.startswith("1.1.0-")
    assert second.replaced == first.release
    assert [path.name for path in (device.root / "downloads" / "toy").iterdir()] == [".lock"]
    web.asked.clear()
    again = install_from_registry(device, "toy", "1.1.0")
    assert again.release == again.replaced == second.release
    assert [path for path, _ in web.asked if "/targets/" in path] == []


def test_a_device_takes_the_delta_and_gets_the_published_bytes(
    device: Home, web: Web, publisher: Publisher, multiply_bundle: Make
) -> None:
    install_from_registry(device, "toy")
    new = multiply_bundle("1.1.0")
    (added,) = publisher.add(new)
    assert [step.source for step in added.deltas] == [Slots(device, "toy").target("current")]
    web.asked.clear()
    assert fetch(device, "toy").read_bytes() == new.read_bytes()
    assert [path.rpartition(".")[2] for path, _ in web.asked if "/targets/" in path] == ["delta"]


@pytest.mark.parametrize("harm", ["installed file", "delta"])
def test_a_delta_that_does_not_fit_gives_way_to_the_whole_file(
    device: Home, web: Web, publisher: Publisher, multiply_bundle: Make, harm: str
) -> None:
    install_from_registry(device, "toy")
    new = multiply_bundle("1.1.0")
    publisher.add(new)
    if harm == "delta":
        web.replace(".delta", b"not what was signed")
    else:
        (Slots(device, "toy").current() / "golden.npz").write_bytes(b"damaged")
    assert fetch(device, "toy").read_bytes() == new.read_bytes()


def test_a_download_goes_on_where_it_was_cut(
    device: Home, web: Web, publisher: Publisher, multiply_bundle: Make
) -> None:
    content = next((publisher.folder / "public" / "targets" / "toy").glob("*.edge")).read_bytes()
    half = len(content) // 2

    async def cut(scope: object, receive: object, send: Callable[..., object]) -> None:
        web.answers.clear()
        length = str(len(content)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": content[:half], "more_body": True})  # type: ignore[misc]

    web.answers[".edge"] = lambda scope: cut
    assert fetch(device, "toy", limits=HASTY).read_bytes() == content
    assert [asked for path, asked in web.asked if path.endswith(".edge")] == ["", f"bytes={half}-"]


def test_a_download_keeps_to_its_bandwidth(device: Home, publisher: Publisher) -> None:
    size = next((publisher.folder / "public" / "targets" / "toy").glob("*.edge")).stat().st_size
    began = time.monotonic()
    fetch(device, "toy", limits=Limits(bytes_per_s=8 * size))
    assert time.monotonic() - began > 0.1


def test_no_registry_takes_a_device_back_but_its_operator_can(
    device: Home, publisher: Publisher, multiply_bundle: Make
) -> None:
    old = install_from_registry(device, "toy")
    publisher.add(multiply_bundle("1.1.0"))
    new = install_from_registry(device, "toy")
    with pytest.raises(OlderReleaseError, match="older than the installed"):
        install_from_registry(device, "toy", "1.0.0")
    assert Slots(device, "toy").target("current") == new.release
    assert installer.rollback(device, "toy").release == old.release


def test_what_is_not_there_is_said_plainly(device: Home, home: Home) -> None:
    with pytest.raises(NotPublishedError, match=r"no toy 9\.9"):
        fetch(device, "toy", "9.9")
    (home.root / "trust" / "root.json").unlink()
    with pytest.raises(NotEnrolledError, match="Enroll it"):
        fetch(device, "toy")


def test_a_device_updates_itself_by_command_and_says_in_one_line_why_not(
    device: Home, web: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["toy", "--limit", "5M", "--health", "10m"]) == 0
    assert json.loads(capfd.readouterr().out)["release"] == Slots(device, "toy").target("current")
    web.replace("timestamp.json", b"{}")
    assert main(["toy"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
