"""What researchers and reports build on the engine; nothing reads it but the shell."""
