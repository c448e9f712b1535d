"""Whether hits fit the detector that a pipeline was made for: the error before finding, and the warning after it."""
