"""From pictures and films as they are found to filtered shards without duplicates, by an Apache Beam pipeline.

What decides, reads and writes is plain Python here (`filters`, `pictures`, `near`, `tars`, `tables`, `folders`,
`shards`); only `pipeline`, `runner` and `__main__` know Beam, and `storage` where a path is a URL.  Nothing knows jax.
"""
