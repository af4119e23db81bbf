"""A simulated fleet, for load tests and demos: the real protocol and real histograms, in one process.

boards    what kinds of devices there are, and what is the matter with a few of them
device    one device over time: readings of plausible health and latencies (pure)
packets   MQTT 3.1.1, as far as a device needs it (pure): one process holds a connection, and a will, for each device
link      a device's connection to the broker
fleet     all of them: connecting, reporting in turn, saying goodbye

Nothing here is used by real devices, and the monitor cannot tell the difference.
"""
