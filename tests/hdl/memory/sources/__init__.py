"""Tests of the sources of weights."""
