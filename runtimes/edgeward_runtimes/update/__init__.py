"""Updates from a signed registry: found, fetched and proved, before the installer sees them (docs/registry.md)."""
