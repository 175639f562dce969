"""Tasks whose answers can be checked: addition, parity, modular addition."""
