"""What tests share: small models, random tapes, calls of the command line."""
