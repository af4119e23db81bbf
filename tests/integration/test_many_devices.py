"""Commands about many devices at once: a row each, and an exit code that says whether all of it worked."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli

Make = Callable[..., Path]


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    return [f"local:{tmp_path / name}" for name in ("device-1", "device-2")]


def test_flash_rollback_and_status_of_many(multiply_bundle: Make, cli: Cli, urls: list[str]) -> None:
    code, out, _ = cli("flash", multiply_bundle("1.0.0"), *urls)
    assert code == 0
    assert all(url in out for url in urls)
    assert out.count("passed") == 2
    assert cli("flash", multiply_bundle("1.1.0"), "--device", urls[0], "--jobs", "1", "--keep", "2")[0] == 0
    code, out, err = cli("rollback", *urls, "toy")
    assert code == 1
    assert "has no previous release" in out
    assert "1 of 2 devices failed" in err
    code, out, _ = cli("status", *urls, "--json")
    assert code == 0
    models = [each["result"]["models"] for each in json.loads(out)["devices"]]
    assert all(model["release"].startswith("1.0.0-") for [model] in models)
    code, out, _ = cli("status", *urls, "--journal")
    assert code == 0
    assert len(re.findall(r" rollback +1\.0\.0-", out)) == 1
    assert cli("status", *urls)[0] == 0


def test_the_same_device_named_twice_is_one(multiply_bundle: Make, cli: Cli, urls: list[str]) -> None:
    code, out, _ = cli("status", urls[0], "--device", urls[0], "--json")
    assert code == 0
    assert len(json.loads(out)["devices"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status",), "Name a device"),
        (("rollback", "{url}"), "Name the model to roll back"),
        (("rollback", "toy"), "Name a device"),
        (("flash", "{bundle}", "{url}", "--health", "soon"), "is written like 10m"),
        (("flash", "{bundle}", "{url}", "--registry", "/nowhere"), "is not a registry"),
        (("provision", "{url}", "local:/tmp/other", "--enroll", "/nowhere"), "name one device"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    words: tuple[str, ...], said: str, multiply_bundle: Make, cli: Cli, urls: list[str], tmp_path: Path
) -> None:
    code, out, err = cli(*(word.format(url=urls[0], bundle=multiply_bundle()) for word in words))
    assert code == 2
    assert out == ""
    assert said in err
    assert not (tmp_path / "device-1" / "models").exists()
