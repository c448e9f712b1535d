"""What must hold before anything counts: the agent finished, worked with the data, and answers what it found there."""
