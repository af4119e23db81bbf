"""The metrics that edgeward's agent reports and its monitor reads: names, datatypes, units.

`counters` is the exact one: cumulative totals of every (release, epoch) of a model, packed. The plain numbers
beside it say the same of the running release to Sparkplug hosts that do not know edgeward.
"""

from edgeward_runtimes.sparkplug.codec import DataType

BDSEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
REPORTING_INTERVAL = "Node Control/Reporting Interval"  # seconds

# A device's metrics: facts come with every birth, health with every report. Null: not measurable there.
FACTS = {
    "target": DataType.STRING,
    "edgeward_version": DataType.STRING,
    "python_version": DataType.STRING,
    "architecture": DataType.STRING,
    "keep_alive_s": DataType.DOUBLE,
}
HEALTH = {
    "cpu_percent": DataType.DOUBLE,
    "load_1m": DataType.DOUBLE,
    "memory_used_percent": DataType.DOUBLE,
    "disk_used_percent": DataType.DOUBLE,
    "temperature_c": DataType.DOUBLE,
    "uptime_s": DataType.DOUBLE,
}
# Beside it, what only some devices can measure, and how the agent itself fares.
SENSORS = {
    "throttled": DataType.DOUBLE,  # 1: this device runs slower than it could at this moment; 0: it does not
    "throttling": DataType.STRING,  # why, and what has happened since it booted; empty: nothing
    "power_w": DataType.DOUBLE,
    "energy_per_prediction_j": DataType.DOUBLE,  # of the whole device, over the predictions since the last report
    "gpu_percent": DataType.DOUBLE,
    "gpu_temperature_c": DataType.DOUBLE,
    "clock_offset_ms": DataType.DOUBLE,  # what the clock is ahead of its time source
    "spool_rows": DataType.UINT64,  # readings that wait to be told as history
    "spool_dropped": DataType.UINT64,  # readings that were never told, for want of room
    "logs_dropped": DataType.UINT64,  # log lines beyond what is forwarded
}
REQUEST = "Node Control/Request"  # bytes, from a host: `requests.Request`
ANSWER = "Node Control/Answer"  # bytes, an event like LOGS: `requests.Answer`
LOGS = "Logs"  # an event, not a state: every value is one line at warning or above, "LEVEL logger: text"

# A model's metrics on a device.
COUNTERS = "counters"
OBSERVATIONS = "observations"  # packed: what a sample of the running release's inputs and outputs looked like
MODEL = {
    "release": DataType.STRING,
    "variant": DataType.STRING,
    "engine": DataType.STRING,
    "runs_on": DataType.STRING,
    "warning": DataType.STRING,
    "predictions": DataType.UINT64,
    "errors": DataType.UINT64,
    "p50_ms": DataType.DOUBLE,
    "p95_ms": DataType.DOUBLE,
    "p99_ms": DataType.DOUBLE,
    COUNTERS: DataType.BYTES,
}
# Of the running release, told when they change and by the minute at most. Null: not observed, or too little so far.
OBSERVED = {
    "drift_score": DataType.DOUBLE,  # the largest population stability index against the bundle's reference
    "mean_confidence": DataType.DOUBLE,  # of the sampled outputs, where the model classifies
    "accuracy": DataType.DOUBLE,  # over the latest answers that feedback() judged
    "feedback_count": DataType.UINT64,  # how many answers feedback() has judged
    OBSERVATIONS: DataType.BYTES,
}
