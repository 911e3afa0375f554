"""The same computation in less time on a CPU: packed frozen layers, dropout of few random bits, attention with it."""
