"""Counterfoil: a self-hosted, non-custodial crypto invoicing and checkout server."""
