"""One-line mistakes, each of which a test must catch: those of a list, and any number drawn."""

from tools.mutants.listed import Mutant, lacking, load_mutants
from tools.mutants.running import caught_by

__all__ = ["Mutant", "caught_by", "lacking", "load_mutants"]
