"""What is followed of a chip while it plays: writes of vectors, cycles by segment, waveforms."""
