"""The use cases: read, talk, one transaction. No HTTP words, and no network inside a transaction.

Functions whose first argument is a connection run inside a transaction of the caller's; those whose
first argument is a `Context` open their own.
"""
