"""Exact counts under chaos: everything that can end, ends at random, and in the end every prediction is shown, once.

network       a network namespace for the broker and the monitor, and one for each device; links can be cut
application   what predicts on a device, and writes down that it did
device        one device: its agent, its application, its clock
hub           the broker (a real Mosquitto) and the monitor
__main__      the run: devices, faults, and the table
"""
