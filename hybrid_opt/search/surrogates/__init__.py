"""One surrogate a file, all behind the contract of `hybrid_opt.search.surrogate`."""
