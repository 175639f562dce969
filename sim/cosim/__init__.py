"""Co-simulation: chip and golden model side by side, compared bit for bit."""
