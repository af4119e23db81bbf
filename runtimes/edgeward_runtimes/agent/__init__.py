"""The daemon on a device: reads its health and counters, and reports them as a Sparkplug edge node."""
