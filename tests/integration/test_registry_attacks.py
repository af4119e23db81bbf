"""Attacks on the way from the publisher to a device: each is refused for its own reason, noted, and installs nothing.

Against the real python-tuf client over HTTP. The attacker answers in the web server's place; where a test says so, he
has also stolen the keys that a server holds.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from starlette.types import Receive, Scope, Send
from tuf.api.metadata import Metadata

from edgeward import registry
from edgeward.registry.refreshing import signers_at_hand
from edgeward.registry.repository import LIFETIMES, Lifetimes, Repository
from edgeward_runtimes import errors as e
from edgeward_runtimes.home import Home
from edgeward_runtimes.update import local
from edgeward_runtimes.update.pace import Limits
from edgeward_runtimes.update.updating import fetch
from tests.builders import write_bundle
from tests.registries import HASTY, PASSPHRASE, Publisher, Web, served

Refused = Callable[..., str]
PAST = timedelta(seconds=-1)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A registry with one release."""
    publisher = Publisher.make(tmp_path)
    publisher.add(bundle(tmp_path / "published", "1.0.0"))
    return publisher


@pytest.fixture
def web(publisher: Publisher) -> Iterator[Web]:
    with served(publisher.folder) as web:
        yield web


@pytest.fixture
def device(home: Home, publisher: Publisher, web: Web) -> Home:
    publisher.enroll(home, web.url)
    return home


@pytest.fixture
def refused(device: Home, caplog: pytest.LogCaptureFixture) -> Refused:
    """Try to update; give the refusal's message, after checking that it was noted and nothing was installed."""

    def attempt(kind: type[e.UpdateError]) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(kind) as caught:
            fetch(device, "toy", limits=HASTY)
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert kind.__name__ in caplog.text
        assert not list(device.models.glob("*/releases/*"))
        assert not list((device.root / "downloads").rglob("*.edge"))
        return str(caught.value)

    return attempt


def bundle(folder: Path, version: str, factor: float = 2.0) -> Path:
    folder.mkdir(exist_ok=True)
    return write_bundle(folder / f"toy-{version}.edge", version=version, factor=factor).path


def see(device: Home) -> None:
    """Let the device look at the registry as it is, so that it knows what is newest."""
    fetch(device, "toy", limits=HASTY).unlink()


def put(source: Publisher, web: Web) -> None:
    """Answer with another registry's files, where it has them."""
    for path in (source.folder / "public").rglob("*.*"):
        web.replace(f"/registry/{path.relative_to(source.folder / 'public')}", path.read_bytes())


# --- nobody's, and the wrong ones' signatures


def test_unsigned_metadata(publisher: Publisher, web: Web, refused: Refused) -> None:
    document = Metadata.from_bytes((publisher.metadata / "timestamp.json").read_bytes())
    document.signatures.clear()
    web.replace("timestamp.json", document.to_bytes())
    refused(e.UnsignedError)


def test_an_unsigned_bundle_from_a_file(device: Home, publisher: Publisher, tmp_path: Path) -> None:
    ours = tmp_path / "published" / "toy-1.0.0.edge"
    assert local.verify(ours, publisher.metadata, device).custom.version == "1.0.0"
    with pytest.raises(e.UnsignedError, match="edgeward registry add"):
        local.verify(bundle(tmp_path / "foreign", "1.0.0", factor=3.0), publisher.metadata, device)


def test_the_registry_of_somebody_else(tmp_path: Path, web: Web, refused: Refused) -> None:
    stranger = Publisher.make(tmp_path / "stranger")
    stranger.add(bundle(tmp_path / "stranger", "9.0.0"))
    put(stranger, web)
    refused(e.WrongKeyError)


def test_a_root_that_the_old_root_did_not_sign(tmp_path: Path, web: Web, refused: Refused) -> None:
    stranger = Publisher.make(tmp_path / "stranger")
    stranger.rotate("root")
    web.replace("2.root.json", (stranger.metadata / "2.root.json").read_bytes())
    refused(e.WrongKeyError)


def test_targets_by_a_thief_of_the_server(publisher: Publisher, tmp_path: Path, web: Web, refused: Refused) -> None:
    """Snapshot and timestamp keys lie on the server; whoever has them still cannot publish a bundle."""
    thief = publisher.copy(tmp_path / "thief")
    stranger = Publisher.make(tmp_path / "stranger")
    _sign_targets(thief, stranger.keys)
    put(thief, web)
    refused(e.WrongKeyError)


def test_targets_by_a_revoked_key(
    publisher: Publisher, tmp_path: Path, web: Web, device: Home, refused: Refused
) -> None:
    """The thief has the server's keys, and the targets key that was revoked when he was noticed."""
    thief = publisher.copy(tmp_path / "thief")
    publisher.rotate("targets")
    see(device)
    for _ in range(2):  # so that it is newer than anything that the device has seen
        _sign_targets(thief, thief.keys)
    put(thief, web)
    refused(e.RevokedKeyError)


def test_one_root_key_where_two_must_sign(tmp_path: Path, home: Home) -> None:
    publisher = Publisher.make(tmp_path, threshold=2)
    kept = sorted(publisher.keys.glob("root-*.pem"))
    for path in kept[1:]:
        path.unlink()
    with pytest.raises(e.RegistryError, match="needs 2 of the keys"):
        publisher.rotate("targets")
    assert not (publisher.metadata / "2.root.json").exists()


# --- time


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_metadata(role: str, publisher: Publisher, tmp_path: Path, refused: Refused) -> None:
    publisher.add(bundle(tmp_path, "1.1.0"), lifetimes=Lifetimes(**{role: PAST}))
    assert role in refused(e.ExpiredMetadataError)


def test_an_expired_root(publisher: Publisher, refused: Refused) -> None:
    publisher.rotate("root", lifetimes=Lifetimes(root=PAST))
    assert "root" in refused(e.ExpiredMetadataError)


def test_a_freeze(publisher: Publisher, tmp_path: Path, web: Web, device: Home, refused: Refused) -> None:
    """The attacker repeats what he recorded; in time it expires, however often he says it."""
    publisher.add(bundle(tmp_path, "1.1.0"), lifetimes=Lifetimes(timestamp=PAST))
    frozen = publisher.copy(tmp_path / "frozen")
    registry.refresh(publisher.folder)
    put(frozen, web)
    refused(e.ExpiredMetadataError)


# --- back in time


def test_a_rollback_of_the_metadata(
    publisher: Publisher, tmp_path: Path, web: Web, device: Home, refused: Refused
) -> None:
    recorded = publisher.copy(tmp_path / "recorded")
    publisher.add(bundle(tmp_path, "1.1.0"))
    see(device)
    put(recorded, web)
    refused(e.MetadataRollbackError)


def test_a_rollback_by_a_thief_of_the_server(
    publisher: Publisher, tmp_path: Path, web: Web, device: Home, refused: Refused
) -> None:
    """He signs ever newer timestamps, of a snapshot with the old targets."""
    thief = publisher.copy(tmp_path / "thief")
    publisher.add(bundle(tmp_path, "1.1.0"))
    see(device)
    for days in (70, 700):
        registry.refresh(thief.folder, lifetimes=Lifetimes(snapshot=timedelta(days=days)))
    put(thief, web)
    refused(e.MetadataRollbackError)


# --- mixed and matched


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_metadata_from_two_times(role: str, publisher: Publisher, tmp_path: Path, web: Web, refused: Refused) -> None:
    before = getattr(Repository.open(publisher.folder), role).signed.version
    publisher.add(bundle(tmp_path, "1.1.0"))
    web.replace(f"{before + 1}.{role}.json", (publisher.metadata / f"{before}.{role}.json").read_bytes())
    refused(e.MixedMetadataError)


def test_a_root_from_another_time(publisher: Publisher, web: Web, refused: Refused) -> None:
    publisher.rotate("root")
    publisher.rotate("root")
    web.replace("2.root.json", (publisher.metadata / "1.root.json").read_bytes())
    refused(e.MixedMetadataError)


def test_metadata_that_is_no_metadata(web: Web, refused: Refused) -> None:
    web.replace("timestamp.json", b"{" * 10_000)
    refused(e.MalformedMetadataError)


# --- the download itself


def test_a_bundle_in_place_of_another(tmp_path: Path, web: Web, publisher: Publisher, refused: Refused) -> None:
    ours = (tmp_path / "published" / "toy-1.0.0.edge").read_bytes()
    theirs = bundle(tmp_path / "foreign", "1.0.0", factor=3.0).read_bytes()
    web.replace(".edge", theirs.ljust(len(ours), b"\0")[: len(ours)])
    refused(e.TamperedDownloadError)


def test_a_truncated_bundle(tmp_path: Path, web: Web, refused: Refused) -> None:
    web.replace(".edge", (tmp_path / "published" / "toy-1.0.0.edge").read_bytes()[:-1])
    refused(e.TruncatedDownloadError)


@pytest.mark.parametrize("file", [".edge", "timestamp.json", ".root.json"])
def test_an_endless_file(file: str, web: Web, device: Home, refused: Refused) -> None:
    web.answers[file] = lambda scope: _endless
    refused(e.EndlessDownloadError)
    assert not list((device.root / "downloads").rglob("*.part"))


def test_a_file_that_drips(web: Web, device: Home) -> None:
    web.answers[".edge"] = lambda scope: _dripping
    with pytest.raises(e.EndlessDownloadError, match="too slowly"):
        fetch(device, "toy", limits=Limits(timeout_s=0.3, attempts=1))


def test_a_connection_that_always_breaks(web: Web, refused: Refused) -> None:
    web.answers[".edge"] = lambda scope: _breaking
    refused(e.TruncatedDownloadError)


def test_a_server_that_is_away(web: Web, device: Home, refused: Refused) -> None:
    (device.root / "trust" / "registry").write_text("http://127.0.0.1:9/registry")
    refused(e.RegistryUnreachableError)


async def _endless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(10_000):
        await send({"type": "http.response.body", "body": b"\0" * 2**16, "more_body": True})


async def _dripping(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(100):
        await send({"type": "http.response.body", "body": b"P", "more_body": True})
        await asyncio.sleep(0.05)


async def _breaking(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"PK", "more_body": False})


def _sign_targets(thief: Publisher, keys: Path) -> None:
    """Sign new targets with that key and let snapshot and timestamp vouch for them, whatever the root says."""
    repository = Repository.open(thief.folder)
    (file,) = keys.glob("targets-*.pem")
    signer = CryptoSigner(load_pem_private_key(file.read_bytes(), PASSPHRASE.encode()))  # type: ignore[arg-type]
    repository.root.signed.roles["targets"].keyids.clear()
    repository.root.signed.add_key(signer.public_key, "targets")
    online = signers_at_hand(repository, (), None, set())
    repository.publish("targets", {**online, "targets": [signer]}, LIFETIMES)
