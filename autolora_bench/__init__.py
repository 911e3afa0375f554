"""autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning."""
