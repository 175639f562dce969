"""Other people's weight formats."""
