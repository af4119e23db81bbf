"""`edgeward demo`: the whole workflow on this machine, with real parts only.

A small network learns handwritten digits (the 1,797 pictures that scikit-learn ships), is converted to six variants,
flashed to two `local:` devices, and predicts the whole test split on each of them in a process of its own,
while an agent per device reports to a monitor with its embedded broker. In the end, what the monitor shows is
what the applications predicted.
"""

from edgeward.demo.workflow import run

__all__ = ["run"]
