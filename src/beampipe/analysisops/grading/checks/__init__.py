"""Checks: each in a file of its own, with its settings, its formula and nothing else.

gates     what must hold, or nothing counts
answers   a submission's numbers, words, histograms and labels against the reference of the instance
trace     the checks of the public benchmark's rubrics, by its names
"""
