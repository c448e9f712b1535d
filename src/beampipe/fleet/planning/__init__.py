"""Planning of a fleet: a simulator for the number of servers, and a search for the best configuration of a model."""
