"""The command line: typer for arguments, rich for people, `--json` for scripts. No logic of its own.

Rules: an answer asked for with --json is alone on stdout; progress and messages go to stderr; an EdgewardError, or what
the system refuses, is one line and exit code 2; so is a missing optional package, with the extra that brings it.
"""

import sys
from typing import Annotated

import typer

from edgeward.cli import bundles, capturing, devices, fleet, registry, serving, tuning
from edgeward.cli.output import complain
from edgeward_runtimes.commands import edgeward_version
from edgeward_runtimes.errors import EdgewardError, of_system

app = typer.Typer(
    name="edgeward",
    help="Take a trained model to a fleet of edge devices and keep watch over it there.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for _module in (bundles, capturing, devices, fleet, registry, serving, tuning):
    _module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgeward {edgeward_version()}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take a trained model to a fleet of edge devices and keep watch over it there."""


_EXTRA_OF = {
    "tensorflow": "convert",
    "keras": "convert",
    "PIL": "convert",
    "matplotlib": "convert",
    "jinja2": "convert",
    "onnx": "convert",
    "tf2onnx": "convert",
    "nncf": "convert",
    "ai_edge_quantizer": "convert",
    "optuna": "convert",
    "ray": "ray",
    "fastapi": "monitor",
    "alembic": "monitor",
    "cryptography": "registry",
    "sqlalchemy": "monitor",
    "iotcore": "monitor",
    "httpx": "monitor",
    "tomli_w": "monitor",
    "psycopg": "postgresql",
    "tuf": "update",
    "securesystemslib": "update",
    "zstandard": "update",
    "asyncssh": "flash",
    "adbutils": "flash",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "paho": "agent",
    "psutil": "agent",
    "google": "agent",
    "sklearn": "dev",
    "torch": "torch",
    "litert_torch": "torch",
    "onnxscript": "torch",
}


def run() -> int:
    """Run the command line; return the exit code."""
    try:
        app()
    except EdgewardError as error:
        complain(str(error))
        return 2
    except OSError as error:
        complain(of_system(error))
        return 2
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        complain(f"This command needs the package {error.name!r}: pip install 'edgeward[{extra}]'")
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(run())
