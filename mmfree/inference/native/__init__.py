"""The fast exact player: a library in C++ (``src``), how it is found or compiled, and its use."""
