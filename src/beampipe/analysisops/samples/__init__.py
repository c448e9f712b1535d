"""Building blocks of data generators.

dataset      an instance: random parameters, events as flat arrays, names of columns, ROOT files, and the hidden truth
collisions   collisions of the hard process by Pythia 8, four-vectors, decays; a fast detector: acceptance, efficiency,
             resolution, isolation, missing momentum; pairs of leptons and photons: resonances, continua, selections
             and limits
"""
