"""The fleet's server: a Sparkplug host that stores what agents report, and shows it.

broker     the embedded MQTT broker, where none is given by URL
host       the Sparkplug host's state: messages in, updates and requests out (pure)
ingest     its process: MQTT in, batched transactions out
child      processes that never outlive their parent; `supervisor` starts a new one whenever one ends
schema     the tables; store writes them, queries reads them
queries    what is shown, from the store
api        REST and /metrics; `dashboard` the pages, which know nothing but REST
access     tokens, roles, the audit, and the guard in front of both
service    starts and supervises all of it; `process` runs that from another program
"""
