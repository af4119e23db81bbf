"""Bring edgeward itself to a device that needs no internet for it: what it lacks is found here, and sent.

facts      what the device is: Python, architecture, C library
wheels     what it needs, resolved and fetched on this machine for that device
package    this edgeward as a wheel
agent      the agent's enrollment and its systemd unit
steps      all of it in order; done again, it does only what is missing
"""

from edgeward.provision.steps import Provisioned, provision

__all__ = ["Provisioned", "provision"]
