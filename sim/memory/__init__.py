"""External memories of a simulated chip: a model of each port, and how it behaves."""
