"""Stage 7, `report`: the results as an HTML page, figures and tables."""
