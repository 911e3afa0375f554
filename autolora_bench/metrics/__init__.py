"""The official scores of the benchmarks, as pure functions.

Importing one module imports neither the others nor their libraries; nothing here uses the network. `registry` names
every metric, `score` scores files, the other modules take Python lists.
"""
