"""The model that is served: its name, and which release of it answers at the moment."""

from edgeward.serve.protocol_v2 import DATATYPES
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.loading import is_bundle, load
from edgeward_runtimes.model import Model


class Served:
    """A loaded model, whose release may change while it is served."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.model = model

    @classmethod
    def open(cls, source: str, *, variant: str | None, engine: str | None, threads: int | None) -> "Served":
        """Load a bundle, or an installed model and follow its releases.

        Raises:
            EdgewardError: As `edgeward.load` does, and ConfigError when a tensor's dtype is of neither protocol.
        """
        model = load(source, variant=variant, engine=engine, threads=threads, watch=not is_bundle(source))
        for tensor in (*model.inputs, *model.outputs):
            if tensor.dtype not in DATATYPES:
                raise ConfigError(
                    f"{source} cannot be served: {tensor.name!r} is {tensor.dtype}; "
                    f"the protocols know {', '.join(DATATYPES)}."
                )
        return cls(model)

    @property
    def release(self) -> str:
        """The release that answers, `<version>-<digest8>`."""
        return self.model.release or ""

    @property
    def version(self) -> str:
        """The version that answers, as the bundle has it."""
        return self.release.rpartition("-")[0]

    def is_version(self, asked: str | None) -> bool:
        """Whether a version in a path is the one that answers: none, all of it, its release, or its first number.

        The first number alone is what clients of either protocol write, for their servers number versions 1, 2, 3.
        """
        return asked in (None, self.version, self.release, self.version.partition(".")[0])
