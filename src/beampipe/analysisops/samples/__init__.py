"""Building blocks of data generators: collisions by Pythia, a fast detector simulation, ROOT files, and the hidden
truth.

dataset            samples and hidden truth of an instance, written as ROOT files with a manifest
random_parameters  hidden parameters, each from a random stream of its own
collisions         collisions of the hard process by Pythia 8, four-vectors, decays; a fast detector: acceptance,
                   efficiency, resolution, isolation, missing momentum; pairs of leptons and photons: resonances,
                   continua, selections and limits
events             events as flat arrays
branch_names       naming conventions of columns and trees
"""
