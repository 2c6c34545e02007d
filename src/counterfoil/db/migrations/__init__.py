"""The history of the schema; expand first, contract a release later, and emit no events."""
