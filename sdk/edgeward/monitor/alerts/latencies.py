"""p95 latencies of every model on every device against their own baseline.

The window is read by the minute; the baseline by the hour, or from a day on by the day, and kept. Histograms are added
up as arrays, all at once: decoding a hundred thousand of them one by one would take seconds.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Row, select

from edgeward.monitor.alerts.rules import P95
from edgeward.monitor.alerts.storms import Subject
from edgeward.monitor.schema import DAY, FLEET, HOUR, MINUTE, latency
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, BUCKETS_PER_OCTAVE, OFFSET

_DECODER = msgspec.msgpack.Decoder(list[int])
_CHUNK = 20_000
Key = tuple[str, str]  # device id, model
Counts = np.ndarray[Any, np.dtype[np.float64]]


class Latencies:
    """Ratios of p95; keeps the baselines."""

    def __init__(self) -> None:
        self._baselines: dict[str, tuple[int, Mapping[Key, float]]] = {}

    def ratios(self, connection: Connection, rule: P95, until: int) -> dict[Subject, float]:
        """How many times its baseline each p95 is that is not good.

        Args:
            connection: To the store.
            rule: Which window, which baseline, and how many predictions each must have.
            until: Unix seconds, where the window ends; a whole minute.
        """
        since = until - int(rule.window)
        baselines = self._baseline(connection, rule, since)
        if not baselines:
            return {}
        found = {}
        for key, p95 in quantiles(_histograms(connection, MINUTE, since, until), at_least=rule.at_least).items():
            baseline = baselines.get(key)
            if baseline is not None and p95 >= rule.resolve * baseline:
                fleet, _, device = key[0].partition("/")
                found[Subject(fleet, device, key[1])] = p95 / baseline
        return found

    def _baseline(self, connection: Connection, rule: P95, before: int) -> Mapping[Key, float]:
        """Of the whole hours, or days, before the one in which the window begins."""
        resolution = HOUR if rule.baseline < DAY else DAY
        until = before // resolution * resolution
        known = self._baselines.get(rule.title)
        if known is not None and known[0] == until:
            return known[1]
        rows = _histograms(connection, resolution, until - max(int(rule.baseline), HOUR), until)
        baseline = quantiles(rows, at_least=rule.at_least)
        self._baselines[rule.title] = (until, baseline)
        return baseline


def _histograms(connection: Connection, resolution: int, since: int, until: int) -> Iterable[Row[Any]]:
    """(device id, model, histogram) of all periods from `since` to before `until`, in Unix seconds."""
    table = latency[resolution]
    where = (table.c.start >= since, table.c.start < until, table.c.device_id != FLEET)
    return connection.execute(select(table.c.device_id, table.c.model, table.c.histogram).where(*where))


def quantiles(
    rows: Iterable[Row[Any]] | Iterable[tuple[str, str, bytes]], quantile: float = 0.95, at_least: int = 1
) -> dict[Key, float]:
    """A quantile in ms of each (device id, model), as `Histogram.quantile_ms` of the sum of its packed histograms.

    Left out is who has fewer than `at_least` predictions.
    """
    numbers: dict[Key, int] = {}
    sums = np.zeros((0, BUCKET_COUNT))
    stream = iter(rows)
    while chunk := list(islice(stream, _CHUNK)):
        owners = [numbers.setdefault((device_id, model), len(numbers)) for device_id, model, _ in chunk]
        if len(numbers) > len(sums):
            sums = np.concatenate((sums, np.zeros((max(len(numbers) - len(sums), len(sums)), BUCKET_COUNT))))
        _add(sums, owners, [packed for _, _, packed in chunk])
    return _quantiles(numbers, sums[: len(numbers)], quantile, at_least)


def _add(sums: Counts, owners: list[int], packed: list[bytes]) -> None:
    """Add histograms to their owners' rows: the gaps of `Histogram.encode` become buckets for all of them at once."""
    decoded = [_DECODER.decode(each) for each in packed]
    sizes = np.array([len(each) for each in decoded])
    flat = np.fromiter(chain.from_iterable(decoded), np.int64, sizes.sum())
    gaps, counts = np.delete(flat, np.cumsum(sizes) - sizes).reshape(-1, 2).T  # without each one's sum of latencies
    lengths = sizes // 2
    steps = np.cumsum(gaps + 1)
    before = np.concatenate(([0], steps))[np.cumsum(lengths) - lengths]
    bucket = steps - np.repeat(before, lengths) - 1
    np.add.at(sums, (np.repeat(np.array(owners), lengths), bucket), counts)


def _quantiles(numbers: Iterable[Key], sums: Counts, quantile: float, at_least: int) -> dict[Key, float]:
    below = np.cumsum(sums, axis=1)
    total = below[:, -1]
    rank = np.maximum(1, np.ceil(quantile * total))
    bucket = np.sum(below < rank[:, None], axis=1)
    middles = 1e3 * 2.0 ** ((bucket + OFFSET + 0.5) / BUCKETS_PER_OCTAVE)
    return {key: float(ms) for key, ms, count in zip(numbers, middles, total, strict=True) if count >= max(at_least, 1)}
