"""Enrollment: who may speak on a fleet's broker, and as whom. docs/security.md has the model.

There is one certificate authority per fleet.

settings    what a fleet is called and where its broker is: `fleet.toml`, and the rules for names
authority   keys, certificates and the list of those revoked (pure but for randomness)
index       every certificate ever issued, written before it is given away
mosquitto   the broker's configuration and access rules, as text (pure)
folder      where things lie, and `init`
devices     enroll, renew, revoke, list
cutting     ends a revoked device's connection
"""
