"""Families that ask for the mass, the width or the yield of a peak."""
