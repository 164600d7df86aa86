"""Data in: files, venues' answers, and generated markets. The only way input enters."""
