"""Models of two architectures side by side: trained on the same batches, timed in turns."""
