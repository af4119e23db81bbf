"""Damaged metadata, bundles and deltas from a registry: every one is refused with a reason, and none is installed.

`make fuzz` runs twenty thousand ($EDGEWARD_FUZZ_UPDATES), the test suite some hundreds. A damaged file takes the place
of the true one, in the registry's own web server. Where metadata is damaged, the bundle is an attacker's as well: were
any damage to get past the metadata's checks, his bundle would be what arrives.
"""

import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.errors import BundleError, EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import Installed, install
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.update.pace import Limits
from edgeward_runtimes.update.updating import install_from_registry
from tests.builders import write_bundle
from tests.registries import Publisher, Web, served

COUNT = int(os.environ.get("EDGEWARD_FUZZ_UPDATES", "400"))
IMPATIENT = Limits(timeout_s=5, attempts=1)
FILES = ("1.root.json", "2.root.json", "timestamp.json", ".snapshot.json", ".targets.json", ".edge", ".delta")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    publisher = Publisher.make(tmp_path)
    for version in ("1.0.0", "1.1.0"):
        publisher.add(write_bundle(tmp_path / f"{version}.edge", version=version).path)
    publisher.rotate("root")
    return publisher


@pytest.fixture
def web(publisher: Publisher) -> Iterator[Web]:
    with served(publisher.folder) as web:
        yield web


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of devices are made and unmade there."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.timeout(300 + COUNT // 10)
def test_no_damage_on_the_way_is_installed(publisher: Publisher, web: Web, tmp_path: Path, memory: Path) -> None:
    originals = [_original(publisher, file) for file in FILES]
    attackers = write_bundle(tmp_path / "evil.edge", version="1.1.0", factor=3.0).path.read_bytes()
    refused = 0
    for seed, (file, original) in zip(range(COUNT), itertools.cycle(zip(FILES, originals, strict=True))):
        home = _device(publisher, web, memory / "device", file)
        web.answers.clear()
        web.replace(".edge", attackers)
        damaged = _damaged(original, random.Random(seed))
        if file == "1.root.json":
            (home.root / "trust" / "root.json").write_bytes(damaged)
        web.replace(file, damaged)
        with pytest.raises(EdgewardError) as caught:
            install_from_registry(home, "toy", install=_never, limits=IMPATIENT)
        assert str(caught.value)
        refused += 1
        assert Slots(home, "toy").target("current") in (None, Bundle.open(tmp_path / "1.0.0.edge").release_id)
    assert refused == COUNT


def test_no_damaged_bundle_is_installed_from_a_file(tmp_path: Path, memory: Path) -> None:
    original = write_bundle(tmp_path / "1.0.0.edge").path.read_bytes()
    home = Home.under(tmp_path / "device")
    for seed in range(COUNT):
        damaged = memory / "damaged.edge"
        damaged.write_bytes(_damaged(original, random.Random(seed)))
        with pytest.raises(BundleError):
            install(home, damaged)
    assert not home.models.exists()


def _never(home: Home, bundle: Path) -> Installed:
    pytest.fail(f"{bundle} came as far as the installer")


def _device(publisher: Publisher, web: Web, folder: Path, file: str) -> Home:
    """A device with nothing but its root of trust; for deltas, also the release that they begin from."""
    shutil.rmtree(folder, ignore_errors=True)
    home = Home.under(folder)
    publisher.enroll(home, web.url)
    if file == ".delta":
        slots = Slots(home, "toy")
        bundle = Bundle.open(publisher.folder.parent / "1.0.0.edge")
        bundle.unpack(slots.releases / bundle.release_id)
        slots.link("current", bundle.release_id)
    return home


def _original(publisher: Publisher, file: str) -> bytes:
    """The newest file of that kind."""
    found = (path for path in (publisher.folder / "public").rglob(f"*{file}"))
    return max(found, key=lambda path: path.stat().st_mtime_ns).read_bytes()


def _damaged(original: bytes, chance: random.Random) -> bytes:
    """The bytes with something done to them that leaves them other bytes."""
    ways: list[Callable[[bytearray], object]] = [
        lambda content: content.__setitem__(slice(chance.randrange(len(content)), None), b""),
        lambda content: content.insert(chance.randrange(len(content)), chance.randrange(256)),
        lambda content: content.__delitem__(chance.randrange(len(content))),
        lambda content: content.extend(chance.randbytes(chance.randrange(1, 5000))),
        lambda content: _overwrite(content, chance, chance.randbytes(chance.randrange(1, 64))),
        lambda content: _overwrite(content, chance, bytes(chance.randrange(1, 64))),
        lambda content: _overwrite(
            content, chance, chance.choice([b"null", b"-1", b"1e999", b"[[[[", b'"', b"true", b"{}"])
        ),
        lambda content: _flip(content, chance),
        lambda content: _repeat(content, chance),
    ]
    content = bytearray(original)
    while content == original:
        for way in chance.choices(ways, k=chance.choice([1, 1, 1, 2, 8])):
            if content:
                way(content)
    return bytes(content)


def _overwrite(content: bytearray, chance: random.Random, new: bytes) -> None:
    begin = chance.randrange(len(content))
    content[begin : begin + len(new)] = new


def _flip(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _repeat(content: bytearray, chance: random.Random) -> None:
    begin = chance.randrange(len(content))
    part = content[begin : begin + chance.randrange(1, 500)]
    content[begin:begin] = part
