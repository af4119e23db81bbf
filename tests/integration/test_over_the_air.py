"""Over the air: a monitor that serves a signed registry, an agent, and a release that an operator asks for."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from edgeward import registry
from edgeward.monitor import upkeep
from edgeward.monitor.config import RegistryConfig
from edgeward.monitor.process import MonitorProcess
from edgeward.registry.repository import Lifetimes
from edgeward_runtimes.agent.config import AgentConfig, UpdateConfig
from edgeward_runtimes.agent.service import Agent
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.slots import Slots
from tests.agents import WITHIN_S
from tests.conftest import wait_for
from tests.registries import Publisher

Ask = Callable[..., dict]


@pytest.fixture
def publisher(tmp_path: Path, multiply_bundle: Callable[..., Path]) -> Publisher:
    """A registry with two releases of `toy`."""
    made = Publisher.make(tmp_path)
    made.add(multiply_bundle("1.0.0"))
    made.add(multiply_bundle("1.1.0"))
    return made


@pytest.fixture
def ask(publisher: Publisher, tmp_path: Path, home: Home) -> Iterator[Ask]:
    """Ask the device by the monitor's REST; gives the answer."""
    with MonitorProcess(tmp_path / "monitor", registry=publisher.folder) as monitor:
        publisher.enroll(home, f"{monitor.url}/registry")
        update = UpdateConfig(limit="2M", health="10m")
        config = AgentConfig(fleet="f", device="d", broker=monitor.broker_url, interval_s=0.5, update=update)
        agent = Agent(config, home)
        thread = threading.Thread(target=agent.run)
        thread.start()

        def asked(command: str, **arguments: str) -> dict:
            request = {"device_id": "f/d", "command": command, "arguments": arguments}
            path = f"{monitor.url}/api/requests/{httpx.post(f'{monitor.url}/api/requests', json=request).json()['id']}"
            wait_for(lambda: httpx.get(path).json()["answered_at"] is not None, f"the answer to {command}", 60)
            return httpx.get(path).json()

        try:
            wait_for(lambda: httpx.get(f"{monitor.url}/api/devices/f/d").is_success, "the device to be known", WITHIN_S)
            yield asked
        finally:
            agent.stop()
            thread.join(WITHIN_S)


def _current(home: Home) -> str:
    return Slots(home, "toy").current().name


def test_an_operator_installs_a_signed_release_and_goes_back(ask: Ask, home: Home) -> None:
    for version in ("1.0.0", "1.1.0"):
        answer = ask("install", name="toy", version=version)
        assert answer["ok"], answer["message"]
        assert _current(home).startswith(f"{version}-")
    begun = [entry for entry in Slots(home, "toy").entries() if entry.step == "begin"]
    assert begun[-1].health is not None  # as its agent.toml says
    answer = ask("rollback", name="toy")
    assert answer["ok"], answer["message"]
    assert _current(home).startswith("1.0.0-")


def test_what_the_registry_has_not_signed_is_refused_and_said(ask: Ask, publisher: Publisher, home: Home) -> None:
    assert ask("install", name="toy", version="1.0.0")["ok"]
    answer = ask("install", name="toy", version="9.9.9")
    assert not answer["ok"]
    assert "9.9.9" in answer["message"]
    for path in (publisher.folder / "public" / "targets").rglob("*1.1.0*"):  # the bundle, and the delta to it
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    answer = ask("install", name="toy", version="1.1.0")
    assert not answer["ok"]
    assert _current(home).startswith("1.0.0-")


def test_the_monitor_keeps_the_registrys_timestamp_fresh(publisher: Publisher, tmp_path: Path) -> None:
    timestamp = publisher.metadata / "timestamp.json"
    before = timestamp.read_bytes()
    upkeep.renew(RegistryConfig(str(publisher.folder)))
    assert timestamp.read_bytes() == before  # not due
    registry.refresh(publisher.folder, lifetimes=Lifetimes(timestamp=timedelta(hours=1)))
    due = timestamp.read_bytes()
    upkeep.renew(RegistryConfig(str(publisher.folder)))
    assert timestamp.read_bytes() != due
    upkeep.renew(RegistryConfig(str(tmp_path / "none")))  # is logged, and nothing ends
