"""The signed registry, from its publisher's side: a static folder of bundles under The Update Framework's metadata.

DIR/public/metadata/    what clients read: N.root.json, N.targets.json, N.snapshot.json, timestamp.json
DIR/public/targets/     bundles and deltas, each under its own digest
DIR/online-keys/        the keys of snapshot and timestamp, for the machine that renews them

`DIR/public` is what any web server may serve. docs/registry.md has the workflow and the threats.
"""

from edgeward.registry.adding import Added, add
from edgeward.registry.creating import create
from edgeward.registry.listing import Listing, listing, verify
from edgeward.registry.refreshing import Refreshed, refresh
from edgeward.registry.rotating import Rotated, rotate

__all__ = ["Added", "Listing", "Refreshed", "Rotated", "add", "create", "listing", "refresh", "rotate", "verify"]
