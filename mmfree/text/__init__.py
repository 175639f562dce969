"""Text: sources, documents, tokenizers, and batches of token ids."""
