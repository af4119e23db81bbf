"""The publisher's side: keys, publications that no client sees half of, rotations, renewals."""

import stat
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from edgeward import registry
from edgeward.cli import registry as commands
from edgeward.registry import repository
from edgeward.registry.keys import ROLES
from edgeward.registry.repository import Lifetimes
from edgeward_runtimes.errors import RegistryError, UpdateError
from edgeward_runtimes.home import Home
from edgeward_runtimes.update.client import beside
from tests.builders import write_bundle
from tests.registries import PASSPHRASE, Publisher, served


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    publisher = Publisher.make(tmp_path)
    publisher.add(write_bundle(tmp_path / "a.edge", version="1.0.0").path)
    return publisher


def change(publisher: Publisher, what: str) -> None:
    """Every way to change a registry, by name."""
    if what == "add":
        publisher.add(write_bundle(publisher.folder.parent / "b.edge", version="1.1.0").path)
    elif what == "refresh":
        lives = Lifetimes(*(timedelta(days=1000),) * 4)
        registry.refresh(publisher.folder, [publisher.keys], lambda: PASSPHRASE, lives)
    else:
        publisher.rotate(what)


CHANGES = ["add", "refresh", *ROLES]


@pytest.mark.parametrize("what", CHANGES)
def test_no_client_sees_half_of_a_change(
    what: str, publisher: Publisher, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.enroll(home)
    looks = 0

    def write_and_look(path: Path, content: bytes) -> None:
        nonlocal looks
        write(path, content)
        assert beside(home, publisher.metadata).releases
        looks += 1

    write = repository.write_atomically
    monkeypatch.setattr(repository, "write_atomically", write_and_look)
    change(publisher, what)
    assert looks >= 1
    assert registry.verify(publisher.folder).releases


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_that_dies_on_the_way_leaves_a_registry_that_can_go_on(
    what: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, kept = repository.write_atomically, 0
    while True:
        left = kept

        def write_some(path: Path, content: bytes) -> None:
            nonlocal left
            if left == 0:
                raise OSError(28, "No space left on device", str(path))
            left -= 1
            write(path, content)

        monkeypatch.setattr(repository, "write_atomically", write_some)
        try:
            change(publisher, what)
        except OSError:
            assert registry.verify(publisher.folder).releases
            kept += 1
            continue
        break
    assert kept >= 1
    assert registry.verify(publisher.folder).releases


def test_no_key_lies_in_what_is_served_and_offline_keys_are_encrypted(publisher: Publisher) -> None:
    pems = [*publisher.folder.rglob("*.pem"), *publisher.keys.rglob("*.pem")]
    assert sorted(path.name.partition("-")[0] for path in pems) == sorted(ROLES)
    for path in pems:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert publisher.folder / "public" not in path.parents
        offline = path.parent == publisher.keys
        assert offline == path.name.startswith(("root", "targets"))
        assert (b"ENCRYPTED" in path.read_bytes()) == offline


def test_rotated_keys_sign_and_revoked_ones_do_not(publisher: Publisher, home: Home, tmp_path: Path) -> None:
    publisher.enroll(home)
    for role in ROLES:
        rotated = publisher.rotate(role)
        assert not set(rotated.revoked) & set(rotated.keys)
    publisher.add(write_bundle(tmp_path / "b.edge", version="2.0.0").path)
    assert [each.custom.version for each in beside(home, publisher.metadata).releases] == ["1.0.0", "2.0.0"]


def test_a_threshold_of_two_is_kept_with_keys_in_two_places(tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path, threshold=2)
    (tmp_path / "other").mkdir()
    first, second, spare = sorted(publisher.keys.glob("root-*.pem"))
    second.rename(tmp_path / "other" / second.name)
    spare.unlink()
    with pytest.raises(RegistryError, match="needs 2 of the keys"):
        publisher.rotate("snapshot")
    registry.rotate(publisher.folder, "root", [publisher.keys, tmp_path / "other"], lambda: PASSPHRASE)
    found = registry.verify(publisher.folder)
    assert [(role.threshold, len(role.keys)) for role in found.roles if role.role == "root"] == [(2, 3)]
    assert first.exists()


def test_a_version_stands_for_one_release(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="published already with other content"):
        publisher.add(write_bundle(tmp_path / "b.edge", version="1.0", factor=3.0).path)
    (again,) = publisher.add(tmp_path / "a.edge")
    assert not again.is_new


def test_a_service_renews_only_what_is_due(publisher: Publisher) -> None:
    assert registry.refresh(publisher.folder, only_when_due=True).renewed == ()
    lives = Lifetimes(timestamp=timedelta(days=3))
    assert registry.refresh(publisher.folder, lifetimes=lives, only_when_due=True).renewed == ("timestamp",)


def test_verify_finds_a_changed_bundle_and_an_expired_registry(publisher: Publisher) -> None:
    (path,) = (publisher.folder / "public" / "targets" / "toy").glob("*.edge")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(RegistryError, match="not the file that was signed"):
        registry.verify(publisher.folder)
    path.write_bytes(content)
    registry.refresh(publisher.folder, lifetimes=Lifetimes(timestamp=timedelta(seconds=-1)))
    with pytest.raises(UpdateError, match="expired"):
        registry.verify(publisher.folder)


def test_the_wrong_passphrase_publishes_nothing(publisher: Publisher, tmp_path: Path) -> None:
    before = (publisher.metadata / "timestamp.json").read_bytes()
    bundle = write_bundle(tmp_path / "b.edge", version="2.0.0").path
    with pytest.raises(RegistryError, match="passphrase is wrong"):
        registry.add(publisher.folder, [bundle], [publisher.keys], lambda: "quite another one")
    assert (publisher.metadata / "timestamp.json").read_bytes() == before


def test_the_workflow_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(commands.PASSPHRASE_VARIABLE, PASSPHRASE)
    app = typer.Typer()
    commands.register(app)
    folder, keys = str(tmp_path / "registry"), str(tmp_path / "keys")
    first = str(write_bundle(tmp_path / "a.edge", version="1.0.0").path)
    second = str(write_bundle(tmp_path / "b.edge", version="1.1.0").path)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["registry", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "1.root.json" in run("init", folder, "--keys", keys, "--threshold", "2").replace("\n", "")
    assert '"is_new":true' in run("add", folder, first, second, "--keys", keys, "--json")
    assert "timestamp" in run("refresh", folder)
    assert "revoked" in run("rotate", folder, "targets", "--keys", keys)
    assert "1.1.0" in run("list", folder)
    assert '"roles"' in run("verify", folder, "--json")


def test_caches_keep_everything_but_the_timestamp_and_keys_are_not_served(publisher: Publisher) -> None:
    with served(publisher.folder) as web:
        timestamp = httpx.get(f"{web.url}/metadata/timestamp.json")
        root = httpx.get(f"{web.url}/metadata/1.root.json", headers={"Range": "bytes=1-8"})
        key = httpx.get(f"{web.url}/%2e%2e/online-keys/{next((publisher.folder / 'online-keys').iterdir()).name}")
    assert timestamp.headers["Cache-Control"] == "no-cache"
    assert "immutable" in root.headers["Cache-Control"]
    assert (root.status_code, root.content) == (206, (publisher.metadata / "1.root.json").read_bytes()[1:9])
    assert key.status_code == 404


def test_a_short_passphrase_makes_no_registry(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="five random words"):
        registry.create(tmp_path / "registry", tmp_path / "keys", lambda: "short")
    assert not (tmp_path / "registry").exists()
