"""The command `serve`."""

from functools import partial
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    source: Annotated[str, typer.Argument(metavar="BUNDLE|NAME", help="A .edge file, or an installed model.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8501,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --host be an address that other machines reach.")
    ] = False,
    engine: Annotated[str | None, typer.Option(help="Only this engine.")] = None,
    variant: Annotated[str | None, typer.Option(help="Only this variant.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for one prediction.")] = None,
    max_batch_size: Annotated[
        int, typer.Option(min=1, help="At most so many samples of several requests in one prediction.")
    ] = 32,
    max_delay_ms: Annotated[
        float, typer.Option(min=0, help="How long a request may wait for others to share its prediction.")
    ] = 2.0,
    max_request_bytes: Annotated[int, typer.Option(min=1, help="Refuse larger requests.")] = 64 << 20,
) -> None:
    """Serve a model over HTTP: Open Inference Protocol v2 and TensorFlow Serving's REST predict.

    An installed model is followed: a new release answers as soon as it is live.

    Example: edgeward serve model.edge --port 8501
    """
    from edgeward.serve import service
    from edgeward.serve.app import Limits
    from edgeward.serve.served import Served

    service.run(
        partial(Served.open, source, variant=variant, engine=engine, threads=threads),
        service.Address(host=host, port=port, allow_remote=allow_remote),
        Limits(max_batch_size, max_delay_ms, max_request_bytes),
    )
