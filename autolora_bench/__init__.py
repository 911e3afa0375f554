"""autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning."""

__version__ = "0.1.0"
