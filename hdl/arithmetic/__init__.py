"""Arithmetic blocks without a multiplier, shared by every arithmetic of the contract."""
