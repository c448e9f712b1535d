"""What running servers say of themselves: counters read from their metrics, rates, and a live table of them."""
