"""How a merchant's systems are told of an event: one file per channel, and the guard of them all.

Whatever leaves this machine for an address that somebody typed in goes through `guard.py`.
"""
