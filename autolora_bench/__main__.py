"""`python -m autolora_bench`."""

from autolora_bench.cli import main

main()
