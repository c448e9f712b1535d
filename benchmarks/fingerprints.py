"""Fingerprints of what the package gives: two trees that print the same lines behave the same, byte for byte.

    python benchmarks/fingerprints.py [--events FOLDER] [--json FILE] [--compare FILE] [--only labels wire]

One line per item, ``name sha256``:

    labels/SAMPLE/PIPELINE    track of each hit; 1 thread, 2 threads and events found together must agree
    counts/SAMPLE/PIPELINE    numbers of hits, edges and triplets of each event
    torch/SAMPLE/PIPELINE     labels of the same pipelines translated to PyTorch, on the CPU
    repository/MODEL/FILE     what `beampipe serving export` writes, names of Python modules masked
    wire/PROTOCOL/MODEL       all that a client sends for one event, as it arrives at a socket
    AREA/...                  what `items(folder)` of each `fingerprints_AREA.py` beside this file gives, see there

The samples are the shipped events and the Parquet files of FOLDER. Sums of floats depend on the processor and on the
versions of numpy and torch, so compare trees on one machine, in one environment.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import grpc
import numpy as np
import torch
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2

from beampipe.errors import TooLargeError
from beampipe.serving import MODELS, ServingSettings, TritonTrackFinder, export_repository, named_models
from beampipe.tracking import PIPELINES, Hits, Tracks, load_pipeline, open_events, shipped_events
from beampipe.tracking.cuda import translate

Items = Iterator[tuple[str, str]]
"""Pairs of name and sha256."""

SOFT_HITS: Final = 100_000
"""Larger events are left out for the ``_soft`` pipelines: they are slow there, and not what these are made for."""
AREAS: Final = sorted(
    path.stem.removeprefix("fingerprints_") for path in Path(__file__).parent.glob("fingerprints_*.py")
)
KINDS: Final = ("labels", "torch", "repository", "wire", *AREAS)
TORCH_PIPELINES: Final = ("exatrkx", "exatrkx_walk", "module_map")
WIRE_MODELS: Final = ("exatrkx", "exatrkx_ragged", "acts")
_LABELS: Final = {"name": "LABELS", "datatype": "INT64"}


def digest(parts: Iterable[bytes]) -> str:
    """One sha256 over parts, with their lengths: no two splits of the same bytes are alike."""
    total = sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()


def samples_of(folder: Path | None) -> dict[str, list[Hits]]:
    """Events by sample: the shipped ones, then each Parquet file of the folder."""
    samples = {f"shipped_mu{mu}": [event.hits for event in shipped_events(mu)] for mu in (0, 60, 200)}
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        samples[path.stem] = [event.hits for event in open_events(path)]
    return samples


def label_items(samples: dict[str, list[Hits]]) -> Items:
    """Labels and counts of every pipeline on every sample."""
    for name in PIPELINES:
        one, two = (load_pipeline(name, threads=threads) for threads in (1, 2))
        for sample, events in samples.items():
            chosen = [hits for hits in events if not name.endswith("_soft") or len(hits) <= SOFT_HITS]
            if not chosen:
                continue
            results = [unless_refused(one.find, hits) for hits in chosen]
            if labels(results) != labels(unless_refused(two.find, hits) for hits in chosen):
                raise SystemExit(f"{sample}, {name}: 2 threads gave other labels than 1 thread")
            together = unless_refused(two.find_many, chosen[:2])
            if together is not None and labels(results[:2]) != labels(together):
                raise SystemExit(f"{sample}, {name}: events found together got other labels than one by one")
            counts = [None if tracks is None else tracks.counts for tracks in results]
            yield f"labels/{sample}/{name}", labels(results)
            yield f"counts/{sample}/{name}", sha256(json.dumps(counts).encode()).hexdigest()


def torch_items(samples: dict[str, list[Hits]]) -> Items:
    """Labels of the pipelines in PyTorch on the CPU."""
    torch.set_num_threads(1)
    for name in TORCH_PIPELINES:
        pipeline = translate(load_pipeline(name, threads=1), torch.device("cpu"))
        yield f"torch/shipped_mu0/{name}", labels(map(pipeline.find, samples["shipped_mu0"]))


def unless_refused(find: Callable[[Any], Any], what: Any) -> Any:
    """What `find` gives, None if it refuses for the size."""
    try:
        return find(what)
    except TooLargeError:
        return None


def labels(found: Iterable[Tracks | None]) -> str:
    """Digest of the labels of events."""
    return digest(b"refused" if tracks is None else tracks.track_id.astype("<i8").tobytes() for tracks in found)


def repository_items(folder: Path) -> Items:
    """Each file but ``model.py`` and compiled libraries; of the manifest the names, of a configuration the message."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        if path.name == "config.pbtxt":
            text = content.decode().replace(str(folder), "FOLDER").replace(sys.prefix, "PREFIX")
            message = text_format.Parse(re.sub(r"beampipe\.[a-z_.]+:\w+", "M", text), model_config_pb2.ModelConfig())
            content = bytes(message.SerializeToString(deterministic=True))
        elif path.name == ".beampipe.json":
            manifest = json.loads(content)
            content = json.dumps({**manifest, "files": sorted(manifest["files"])}, sort_keys=True).encode()
        if path.name != "model.py" and path.suffix != ".so":
            yield f"repository/{path.relative_to(folder)}", sha256(content).hexdigest()


def wire_items(folder: Path, samples: dict[str, list[Hits]]) -> Items:
    """What servers on this machine get: requests for the configuration and for an event, without and with stages."""
    small, large = samples["shipped_mu0"][0], samples["shipped_mu60"][0]
    for scheme, recorder in (("http", http_recorder), ("grpc", grpc_recorder)):
        # A large event would go through shared memory if the protocol were left open.
        request = [(model, model, small, "auto") for model in WIRE_MODELS]
        for name, model, hits, protocol in [*request, ("exatrkx_large", "exatrkx", large, scheme)]:
            config = model_config(folder, model)
            sent: list[bytes] = []
            for stages in (False, True):
                ask = partial(TritonTrackFinder, model=model, protocol=protocol, stages=stages)
                with recorder(config, sent) as url, ask(url) as finder:
                    track_id = finder.find(hits).track_id
                if not np.array_equal(track_id, np.arange(len(hits))):
                    raise SystemExit(f"{url}, {model}: the client gave other labels than the server sent")
            yield f"wire/{scheme}/{name}", digest(sent)


def model_config(folder: Path, model: str) -> Any:
    """The configuration of a model in a repository, as Triton reads it."""
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@contextmanager
def http_recorder(config: Any, sent: list[bytes]) -> Iterator[str]:
    """A server on a socket; head and body of each request go into `sent`, port and time left masked."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                while (line := self.rfile.readline()).strip():
                    head += line
                body = self.rfile.read(number(head, b"Content-Length"))
                sent.append(head.replace(b":%d" % port, b":PORT"))
                sent.append(re.sub(rb'"timeout":\d+', b'"timeout":T', body))
                self.wfile.write(http_answer(config, head, body))

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{port}"
        server.shutdown()


def number(head: bytes, name: bytes) -> int:
    """The value of a header, 0 where it is missing."""
    result = re.search(rb"^%s: *(\d+)" % name, head, re.I | re.M)
    return int(result[1]) if result else 0


def http_answer(config: Any, head: bytes, body: bytes) -> bytes:
    """The configuration, or labels 0, 1, 2, ...; 404 to whatever else."""
    target = head.split()[1].decode()
    status, extra, tensors = "200 OK", "", b""
    if target.endswith("/config"):
        answer: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    elif target.endswith("/infer"):
        inputs = json.loads(body[: number(head, b"Inference-Header-Content-Length")])["inputs"]
        shape = next(tensor["shape"] for tensor in inputs if tensor["name"] == "FEATURES")[:-1]
        tensors = np.arange(shape[-1], dtype=np.int64).tobytes()
        answer = {"outputs": [{**_LABELS, "shape": shape, "parameters": {"binary_data_size": len(tensors)}}]}
        extra = f"Inference-Header-Content-Length: {len(json.dumps(answer))}\r\n"
    else:
        status, answer = "404 Not Found", {"error": f"got {target}, expected config or infer"}
    content = json.dumps(answer).encode() + tensors
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(content)}\r\n\r\n".encode() + content


@contextmanager
def grpc_recorder(config: Any, sent: list[bytes]) -> Iterator[str]:
    """A server for gRPC; method, metadata (but the version of gRPC) and bytes of each request go into `sent`."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(partial(self.answer, call.method))

        def answer(self, method: str, message: bytes, context: Any) -> bytes:
            metadata = sorted((key, value) for key, value in context.invocation_metadata() if key != "user-agent")
            sent.extend([method.encode(), repr(metadata).encode(), message])
            return grpc_answer(config, method, message)

    server = grpc.server(ThreadPoolExecutor(2), [Handler()], options=[("grpc.max_receive_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(0).wait()


def grpc_answer(config: Any, method: str, message: bytes) -> bytes:
    """The configuration, or labels 0, 1, 2, ...; an empty message to whatever else."""
    if method.endswith("/ModelConfig"):
        return bytes(service_pb2.ModelConfigResponse(config=config).SerializeToString())
    answer = service_pb2.ModelInferResponse()
    if method.endswith("/ModelInfer"):
        inputs = service_pb2.ModelInferRequest.FromString(message).inputs
        shape = next(tensor.shape for tensor in inputs if tensor.name == "FEATURES")[:-1]
        answer.outputs.add(**_LABELS, shape=shape)
        answer.raw_output_contents.append(np.arange(shape[-1], dtype=np.int64).tobytes())
    return bytes(answer.SerializeToString())


def fingerprints(events: Path | None, kinds: Sequence[str], temporary: Path) -> dict[str, str]:
    """sha256 by name of all items of some kinds."""
    samples, models = samples_of(events), temporary / "models"
    if {"repository", "wire"} & set(kinds):
        export_repository(models, named_models(ServingSettings(tuple(MODELS), threads=1, device="cpu")))
    items: dict[str, Callable[[], Items]] = {
        "labels": partial(label_items, samples),
        "torch": partial(torch_items, samples),
        "repository": partial(repository_items, models),
        "wire": partial(wire_items, models, samples),
    }
    for area in AREAS:
        items[area] = partial(import_module(f"fingerprints_{area}").items, temporary / area)
    result: dict[str, str] = {}
    for kind in kinds:
        start = time.perf_counter()
        (temporary / kind).mkdir(exist_ok=True)
        result |= items[kind]()
        print(f"{kind}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return dict(sorted(result.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, help="folder of Parquet files, besides the shipped events")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--compare", type=Path, help="what --json wrote for another tree; exit code 1 if they differ")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="kinds of items")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = fingerprints(options.events, options.only, Path(temporary))
    print("".join(f"{name} {value}\n" for name, value in result.items()), end="")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.compare:
        kinds = {name.partition("/")[0] for name in result}
        every = json.loads(options.compare.read_text())
        other = {name: value for name, value in every.items() if name.partition("/")[0] in kinds}
        changed = [name for name in sorted({*other, *result}) if other.get(name) != result.get(name)]
        print("".join(f"differs: {name}\n" for name in changed), end="", file=sys.stderr)
        raise SystemExit(bool(changed))


if __name__ == "__main__":
    main()
