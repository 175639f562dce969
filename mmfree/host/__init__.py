"""What a host can ask of a chip, whoever implements it."""
