"""The chains that can be paid on: families (`utxo`), and one small file of facts per chain."""
