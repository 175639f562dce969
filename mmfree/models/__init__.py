"""Models under torch, with the integers of the contract in their forward pass."""
