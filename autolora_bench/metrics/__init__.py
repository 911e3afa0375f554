"""The official scores of the benchmarks, as pure functions.

Importing one module imports neither the others nor their libraries; nothing here uses the network. `registry` names
every metric; the other modules take Python lists. Files are scored by `autolora_bench.scoring`.
"""
