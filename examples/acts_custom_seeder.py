"""The CKF of ACTS on seeds from beampipe: `customSeeder` is what a chain of pyacts has to change."""

import json
import tempfile
from pathlib import Path

import acts
import acts.examples as ae
from acts.examples.reconstruction import CkfConfig, SeedingAlgorithm, addCKFTracks, addSeeding
from acts.examples.simulation import EtaConfig, ParticleConfig, addDigitization, addFatras, addParticleGun

from beampipe.tracking.acts import beampipe_seeder

QUIET, TESLA = acts.logging.ERROR, acts.UnitConstants.T
detector, field = ae.GenericDetector(logLevel=QUIET), acts.ConstantBField(acts.Vector3(0, 0, 2 * TESLA))
geometry, random = detector.trackingGeometry(), ae.RandomNumbers(seed=1)
chain = ae.Sequencer(events=2, numThreads=1, logLevel=QUIET, trackFpes=False, outputDir="")
with tempfile.TemporaryDirectory() as folder:
    digitization, layers = Path(folder, "digitization.json"), Path(folder, "layers.json")
    volumes = [{"volume": volume} for volume in (7, 8, 9, 12, 13, 14, 16, 17, 18)]
    layers.write_text(json.dumps(volumes))  # space points of all layers, not of the pixels only
    smearing = {"smearing": [{"index": axis, "type": "Gauss", "mean": 0.0, "stddev": 0.02} for axis in (0, 1)]}
    header = {"format-version": 0, "value-identifier": "digitization-configuration"}
    entries = [{**volume, "value": smearing} for volume in volumes]
    digitization.write_text(json.dumps({"acts-geometry-hierarchy-map": header, "entries": entries}))

    addParticleGun(chain, etaConfig=EtaConfig(-2, 2), particleConfig=ParticleConfig(20), rnd=random)
    addFatras(chain, geometry, field, random, inputParticles="particles_generated")
    addDigitization(chain, geometry, field, digitization, rnd=random)
    ours = {"seedingAlgorithm": SeedingAlgorithm.PythonCallable, "customSeeder": beampipe_seeder}
    addSeeding(chain, geometry, field, layers, **ours, selectedParticles="particles_generated")
    addCKFTracks(chain, geometry, field, ckfConfig=CkfConfig(15.0, 25.0, 1, seedDeduplication=True))
    counting = ae.PythonPatternRecognitionPerformanceWriter.Config()
    for name in ("TrackParticleMatching", "ParticleTrackMatching", "ParticleMeasurementsMap"):
        setattr(counting, f"input{name}", "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:])
    counting.inputTracks, counting.inputParticles = "ckf_tracks", "particles_generated"
    chain.addWriter(writer := ae.PythonPatternRecognitionPerformanceWriter(counting, QUIET))
    chain.run()
print("{nTotalMatchedParticles} of {nTotalParticles} muons found".format(**writer.stats()))
