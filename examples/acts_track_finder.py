"""Tracks from beampipe in a chain of ACTS, in place of its seeding and Kalman filter; ACTS fits them."""

import json
import tempfile
from pathlib import Path

import acts
import acts.examples as ae
from acts.examples.reconstruction import addKalmanTracks
from acts.examples.simulation import EtaConfig, ParticleConfig, addDigitization, addFatras, addParticleGun

from beampipe.tracking.acts import beampipe_track_finder

QUIET, VOLUMES = acts.logging.ERROR, (7, 8, 9, 12, 13, 14, 16, 17, 18)  # all layers: pipelines find whole tracks
detector, field = ae.GenericDetector(logLevel=QUIET), acts.ConstantBField(acts.Vector3(0, 0, 2 * acts.UnitConstants.T))
geometry, random = detector.trackingGeometry(), ae.RandomNumbers(seed=1)
chain = ae.Sequencer(events=2, numThreads=1, logLevel=QUIET, trackFpes=False, outputDir="")
with tempfile.TemporaryDirectory() as folder:
    smearing = {"smearing": [{"index": axis, "type": "Gauss", "mean": 0.0, "stddev": 0.02} for axis in (0, 1)]}
    table = {"acts-geometry-hierarchy-map": {"format-version": 0, "value-identifier": "digitization-configuration"}}
    table["entries"] = [{"volume": volume, "value": smearing} for volume in VOLUMES]
    (digitization := Path(folder, "digitization.json")).write_text(json.dumps(table))
    addParticleGun(chain, etaConfig=EtaConfig(-2, 2), particleConfig=ParticleConfig(20), rnd=random)
    addFatras(chain, geometry, field, random, inputParticles="particles_generated")
    addDigitization(chain, geometry, field, digitization, rnd=random)
points = {"inputMeasurements": "measurement_subset", "outputSpacePoints": "spacepoints", "trackingGeometry": geometry}
points["geometrySelection"] = [acts.GeometryIdentifier(volume=volume) for volume in VOLUMES]
chain.addAlgorithm(ae.SpacePointMaker(QUIET, **points))
beampipe_track_finder(chain, "spacepoints", outputProtoTracks="found")  # track finding is this line
start = {"inputProtoTracks": "found", "inputSpacePoints": "spacepoints", "outputProtoTracks": "started"}
start |= {"outputSeeds": "seeds", "outputParameters": "estimatedparameters"}
chain.addAlgorithm(ae.ProtoTracksToParameters(QUIET, geometry=geometry, magneticField=field, **start))
addKalmanTracks(chain, geometry, field, inputProtoTracks="started")
counting = ae.PythonPatternRecognitionPerformanceWriter.Config()
counting.inputTracks, counting.inputParticles = "kf_tracks", "particles_generated"
for name in ("TrackParticleMatching", "ParticleTrackMatching", "ParticleMeasurementsMap"):
    setattr(counting, f"input{name}", "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:])
chain.addWriter(writer := ae.PythonPatternRecognitionPerformanceWriter(counting, QUIET))
chain.run()
print("{nTotalMatchedParticles} of {nTotalParticles} muons found and fitted".format(**writer.stats()))
