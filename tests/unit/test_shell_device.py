"""Devices with a shell: where edgeward is found on them, and what their shells make of arguments."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes import home
from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports import Completed
from edgeward_targets.transports.shell import ShellDevice


class ThisMachine(ShellDevice):
    """A device that is this machine, by its own shell."""

    def __init__(self, home: str | None = None, python: str | None = None) -> None:
        super().__init__("test://here", home, python)

    def execute(self, command: Sequence[str]) -> Completed:
        done = subprocess.run(command, capture_output=True, check=False)
        return Completed(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("given", [None, "/srv/edge ward"])
def test_edgewards_folder_is_where_the_device_itself_has_it(given: str | None, monkeypatch) -> None:
    monkeypatch.delenv("EDGEWARD_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("EDGEWARD_HOME", given)
    place = ThisMachine().place
    assert place.home == home.roots()[0]
    assert place.environment == {}
    assert place.python == "python3"


def test_an_environment_that_was_provisioned_is_the_one_that_is_used(tmp_path: Path) -> None:
    assert ThisMachine(str(tmp_path)).place.python == "python3"
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/true")
    place = ThisMachine(str(tmp_path)).place
    assert place.python == f"{tmp_path}/venv/bin/python"
    assert place.environment == {"EDGEWARD_HOME": str(tmp_path), "EDGEWARD_RUN": f"{tmp_path}/run"}
    assert ThisMachine(str(tmp_path), "/opt/python").place.python == "/opt/python"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4))
def test_arguments_reach_the_program_as_they_are_from_the_root_folder(arguments: list[str]) -> None:
    completed = ThisMachine().run(["printf", "%s\\0", os.sep, *arguments], {"LC_ALL": "C.UTF-8", "X": "a b; c"})
    assert completed.stdout.decode().split("\0")[:-1] == [os.sep, *arguments]
    assert ThisMachine().run(["pwd"]).stdout == b"/\n"


def test_what_fails_there_says_which_device_and_why() -> None:
    with pytest.raises(DeviceError, match=r"test://here: .*not/there"):
        ThisMachine("/").publish("/not/there", "/not/either")
