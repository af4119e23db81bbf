"""Releases on their way through a fleet: in stages, judged by what devices report, and back when something is wrong.

terms, state      what is told, what is kept
gates             does the new release keep what it must (pure)
plan, returning   what follows (pure)
records           rollouts and facts, out of the store and into it
groups, desired   which devices belong together, and what they should run
acting            one round of all rollouts, `python -m edgeward.monitor.rollouts` again and again
operating         what people do: start, pause, resume, abort
queries, routes   what people see, and REST
"""
