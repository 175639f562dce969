"""Published checkpoints (hgrn_bit): read, played under torch, exported to a tape."""
