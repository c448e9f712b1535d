"""Jets of simulated and real files: constituents and substructure, taggers of gluon jets, the format of ntuples.

substructure      constituents of jets, their number, width and C1
boosted_trees     trees of LightGBM, as the compiled loop of the calibration scores them
network           a transformer over the constituents of a jet, in numpy
network_training  its training with PyTorch
ntuple_format     trees and branches of dijet ntuples
"""
