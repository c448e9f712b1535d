"""How a running fleet is changed, step by step."""
