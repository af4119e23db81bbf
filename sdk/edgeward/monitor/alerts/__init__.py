"""Alerts: rules over what the store knows, and word of them to people, once.

rules       `alerts.toml`: which rules, whom to tell
lifecycle   one alert: pending, firing, resolved (pure)
storms      many devices gone at once are one alert (pure)
link        whether broker and ingest are there: without them silence says nothing
measures    what the rules look at, in set-based SQL; latencies: p95 against its own baseline
seeing      where every alert stands, from what was measured (pure)
rounds      one evaluation: measures in, a transaction of alerts and notifications out
outbox      notifications that wait for their delivery; delivery brings them, by webhook, mail or mqtt
silences    times in which some alerts tell nobody
queries     what REST, the dashboard and the command line show of all this

It runs as `python -m edgeward.monitor.alerts CONFIG-AS-JSON`, a process of its own. Its state is in the store, so
kill -9 loses nothing: a notification is written with the alert that it tells of, and delivered at least once, with an
id by which a receiver drops repeats.
"""
