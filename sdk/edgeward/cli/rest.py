"""The monitor's REST, as commands use it: where it is, who asks, and its refusals as sentences."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeward_runtimes.errors import MonitorError

if TYPE_CHECKING:
    import httpx

MonitorUrl = Annotated[
    str, typer.Option("--monitor", envvar="EDGEWARD_MONITOR", help="The monitor's address.", metavar="URL")
]
Token = Annotated[
    str | None,
    typer.Option(envvar="EDGEWARD_TOKEN", help="From edgeward fleet token create; not needed where none was made."),
]
DEFAULT_URL = "http://127.0.0.1:8080"
_TIMEOUT_S = 30.0


class UnreachableError(MonitorError):
    """The monitor does not answer at this moment."""


class Monitor:
    """A monitor somewhere."""

    def __init__(self, url: str, token: str | None = None) -> None:
        import httpx  # what most commands do without

        self._url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=_TIMEOUT_S)

    def ask(self, method: str, path: str, content: object = None, **parameters: str | int) -> Any:
        """Ask for something; gives the answer's JSON.

        Raises:
            UnreachableError: When the monitor cannot be reached.
            MonitorError: When it refuses, with the reason that it gave.
        """
        import httpx

        try:
            answer = self._client.request(method, path, json=content, params=parameters)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreachableError(
                f"The monitor at {self._url} does not answer: {error}. Start it with edgeward monitor, or name another "
                "with --monitor."
            ) from error
        if answer.is_error:
            raise MonitorError(_reason(answer))
        return answer.json() if answer.content else None


def _reason(answer: "httpx.Response") -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code} {answer.reason_phrase}."
