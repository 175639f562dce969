"""Published checkpoints (hgrn_bit): read, run under torch, exported to a tape."""
