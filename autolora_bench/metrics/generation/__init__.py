"""Scores of generated text. Each metric is one module; `e2e` and `webnlg` are the benchmarks' protocols."""
