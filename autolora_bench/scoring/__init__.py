"""What `score` does: other people's files -> the official metrics.

The files are read by the readers of `data`, the numbers are those of `metrics`; here is which file holds what.
"""
