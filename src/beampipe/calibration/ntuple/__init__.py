"""ROOT files as they are read: columns, baskets, bookkeeping of weights."""
