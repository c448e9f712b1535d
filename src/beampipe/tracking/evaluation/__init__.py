"""Scoring of tracks and graphs against truth, tables and pictures of it."""
