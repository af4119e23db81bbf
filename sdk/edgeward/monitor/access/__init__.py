"""Who may do what at the monitor, and who did.

tables     of tokens and of the audit
callers    who asks, and the roles
tokens     made, listed, revoked, recognized; the store keeps their digests alone
audit      what was done, by whom
failures   how often an address may be wrong
guard      every request passes it: the host it asks for, where it comes from, its token, its role
exposure   where the web server may listen, and with what

A viewer reads. An operator also acts on devices and alerts. An admin also makes and revokes tokens.
"""
