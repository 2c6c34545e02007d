"""The pure core: values and functions on the standard library alone.

No clock, no randomness, no sockets, no environment: time comes in as `now` (milliseconds UTC)
and chance as an argument. A test (tests/test_layers.py) holds the room to that.
"""
