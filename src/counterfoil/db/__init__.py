"""The only room with SQL: one schema, two engines, and a module of queries for each subject.

The functions here take a SQLAlchemy connection, are plain and synchronous, and may be run again;
`engine.py` decides where and when they run.
"""
