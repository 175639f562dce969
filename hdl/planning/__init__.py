"""What a design costs and where it fits, before anything is built."""
