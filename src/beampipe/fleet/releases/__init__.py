"""New models on trial: a share of the events goes to them, and a stated rule says whether they stay."""
