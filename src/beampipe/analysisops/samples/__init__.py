"""What generators of tasks are built of: collisions by Pythia, a fast detector, ROOT files, and the hidden truth.

dataset            samples and hidden truth of an instance, written as ROOT files with a manifest
random_parameters  hidden parameters, each drawn by its name
kinematics         collisions of the hard process by Pythia 8, four-vectors, decays, and laws of masses
pairs              pairs of leptons and photons: resonances, continua, selections and limits
detector           acceptance, efficiency, resolution, isolation, missing momentum
events             events as flat arrays
branch_names       names of columns and trees, as experiments choose them
"""
