"""Allocators of ranks. Each has a search that leaves a rank for every layer; LoRA is then trained anew with them.

`allocated` is the method around every search, `trained` the search that trains, `budget` what ranks are cut to; every
other file is one allocator.
"""
