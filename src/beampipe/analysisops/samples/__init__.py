"""The data of instances: collisions by Pythia, a fast detector, ROOT files, and what is hidden of them.

prepare      a family and a seed become files and what is hidden
families     one file per family of tasks: its physics, and how the best analysis goes
hidden       what is known of an instance and told to no agent
draws        hidden numbers, each belonging to its name
instance     what a family hands over: samples and what is hidden of them
generator    collisions of the hard process, by Pythia 8
kinematics   four-vectors, decays, and laws of masses
detector     acceptance, efficiency, resolution, isolation, missing momentum
events       events as flat arrays
dialects     names of columns and trees, as different people choose them
writing      ROOT files, checksums and the manifest
"""
