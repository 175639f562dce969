"""The accelerator in Amaranth: one file per block, written from docs/arithmetic.md."""
