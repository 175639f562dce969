"""From elements to a vector times its gains, and to the scale of what reads it."""
