"""The ternary array: from weight words to accumulators."""
