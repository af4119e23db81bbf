"""What a model sees and says on a device: samples of it, counted against what it saw when it was converted.

In the predicting process, at most ten times a second and never before its second second: `features` describes one
sample of a batch in a few numbers, `observer` counts them into a memory-mapped file and keeps samples that were asked
for (`capture`). In the agent: `store` adds up what all processes counted, `drift` compares it with the bundle's
`reference`, `summary` packs it for the fleet.
"""
