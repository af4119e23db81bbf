"""Sparkplug B 3.0: what is said on the wire (`codec`), where (`topics`), and in which order (`session`)."""
