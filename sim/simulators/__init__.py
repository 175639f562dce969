"""Simulators, found, built and run; models of cells placed by hand."""
