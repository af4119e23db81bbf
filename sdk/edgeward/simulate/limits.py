"""How many connections this process may have: each is an open file to the system."""

import resource

from edgeward_runtimes.errors import ConfigError

_OWN_FILES = 100


def allow_connections(count: int) -> None:
    """Make room for so many connections, or say why that is not possible. Raises ConfigError."""
    wanted = count + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ConfigError(
                f"{count} devices need as many connections, and this system allows a process {hard} open files: "
                f"raise the limit (ulimit -Hn {wanted}), or simulate at most {hard - _OWN_FILES} devices at once, "
                "each process with a --fleet of its own."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
