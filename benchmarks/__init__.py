"""What Keywright costs: a load generator, spools of real requests, and the harness of `make bench`."""
