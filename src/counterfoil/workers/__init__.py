"""The loops that run beside the web: each does one thing, again and again, under a supervisor."""
