"""The ids of invoices, payments and all else that a person or a program names by a number."""

# JavaScript counts exactly up to here, and so does every client that reads our ids as numbers.
ID_MAX = 2**53 - 1
