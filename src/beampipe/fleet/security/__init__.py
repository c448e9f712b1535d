"""Who is let in to a fleet: tokens, of which only hashes are kept, and certificates of an authority of one's own."""
