"""Reading ROOT files: columns, baskets, bookkeeping of weights, inspection."""
