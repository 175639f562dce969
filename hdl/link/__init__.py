"""The serial link, and the register port that a host reaches through it."""
