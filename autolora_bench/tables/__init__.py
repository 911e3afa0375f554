"""Tables that a user brings: CSV, TSV, JSON lines and parquet, from files or from a data set repository of the hub."""
