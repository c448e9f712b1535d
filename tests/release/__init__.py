"""What a package index, a forge and a newcomer get to see."""
