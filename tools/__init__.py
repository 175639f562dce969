"""Programs beside the product; each is run as a module and says how: `python -m tools.X --help`."""
