"""Asks the served jet tagger with NVIDIA's own client: ask.py HOST:GRPC_PORT."""

import sys

import numpy as np
import tritonclient.grpc as triton

jets = np.array([[800, 0.3, 12, 0.02, 0.18], [800, 1.1, 29, 0.06, 0.27]], np.float32)

with triton.InferenceServerClient(sys.argv[1]) as client:
    tensor = triton.InferInput("JETS", jets.shape, "FP32")
    tensor.set_data_from_numpy(jets)
    answer = client.infer("jet_tagger", [tensor], client_timeout=10)
    print(answer.as_numpy("SCORES").tolist())
