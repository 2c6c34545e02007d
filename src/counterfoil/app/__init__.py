"""The composition root: the only room that sees every other one.

`parts` puts an installation together for one command, `serving` lets one serve. Each is imported by
itself, so that a command which only looks something up does not load the web.
"""
