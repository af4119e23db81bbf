"""Releases on a device: installed whole or not at all, proved on its own engines, and reversible."""
