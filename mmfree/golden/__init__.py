"""Golden models: the specification in NumPy integers, one file for each arithmetic."""
