"""The web: parse, call a service, answer. No SQL, no chains, no rules of money or status."""
