"""What an operator writes and brings for a fleet: specifications, models, credentials, addresses, folders.

Nothing is started: `beampipe fleet check` finds what `beampipe fleet up` would have to do with.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.fleet import certificates
from beampipe.fleet.checks import check_fleet
from beampipe.fleet.cli import app
from beampipe.fleet.control.intent import prepare
from beampipe.fleet.run_folder import run_folder_of
from beampipe.fleet.security import add_token
from beampipe.fleet.specification import read_fleet
from beampipe.triton.server.launch import free_port
from tests.faults.fault import Fault, cases, check

SERVERS = 'repository = "models"\n[servers.cpu]\n'
GATEWAY = SERVERS + "[gateway]\nport = {port}\n"
TLS = GATEWAY + '[gateway.tls]\ncertificate = "{certificate}"\n'


def command(*words: object) -> str:
    """What a command of `beampipe fleet` prints; its error as it is."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def write_model(folder: Path, name: str, config: str | None = None) -> Path:
    model = folder / "models" / name
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(f'name: "{config or name}"\nbackend: "beampipe"\n')
    return model


def checked(text: str, prepare: Callable[[Path], object] = lambda folder: None) -> Callable[[Path], str]:
    """`beampipe fleet check` of a specification beside one model."""

    def plant(folder: Path) -> str:
        write_model(folder, "one")
        prepare(folder)
        (folder / "fleet.toml").write_text(text.replace("{port}", str(free_port())))
        return command("check", "-f", folder / "fleet.toml", "--folder", folder / "run")

    return plant


def read(text: str) -> Callable[[Path], object]:
    """A specification that must be refused when it is read."""
    return checked(text)


def papers(folder: Path) -> Path:
    certificates.make_authority(folder / "ca")
    return certificates.make_server(folder / "ca", ["gateway.example.org"])


def expired(folder: Path) -> None:
    """A certificate of last year."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(days=400)

    with pytest.MonkeyPatch.context() as patched:
        certificates.make_authority(folder / "ca")
        patched.setattr(certificates, "datetime", Clock)
        patched.setattr(certificates, "check_authority", lambda path: None)
        certificates.make_server(folder / "ca", ["gateway.example.org"])


def key_of_another(folder: Path) -> None:
    """Certificate of the gateway, and key of a client."""
    made = papers(folder)
    other = certificates.make_client(folder / "ca", "alice")
    made.write_bytes(
        made.read_bytes().split(b"-----BEGIN PRIVATE")[0] + other.read_bytes().split(b"CERTIFICATE-----\n")[-1]
    )


def without_key(folder: Path) -> None:
    made = papers(folder)
    made.write_bytes(made.read_bytes().split(b"-----BEGIN PRIVATE")[0])


def leaf_as_authority(folder: Path) -> None:
    papers(folder)
    certificates.make_client(folder / "ca", "alice")


def taken(folder: Path) -> object:
    """A port at which another program listens while a specification is checked."""
    write_model(folder, "one")
    with socket.create_server(("127.0.0.1", 0)) as other:
        (folder / "fleet.toml").write_text(GATEWAY.replace("{port}", str(other.getsockname()[1])))
        return command("check", "-f", folder / "fleet.toml", "--folder", folder / "run")


def tokens(text: str | None, mode: int = 0o600) -> Callable[[Path], str]:
    def prepare(folder: Path) -> None:
        if text is None:
            add_token(folder / "tokens", "alice")
        else:
            (folder / "tokens").write_text(text)
        (folder / "tokens").chmod(mode)

    return checked(GATEWAY + 'tokens = "tokens"\n', prepare)


def models(prepare: Callable[[Path], object], text: str = GATEWAY) -> Callable[[Path], str]:
    return checked(text, prepare)


def no_models(folder: Path) -> None:
    shutil.rmtree(folder / "models")


def onnx(folder: Path) -> None:
    """Networks without Triton's configuration."""
    shutil.rmtree(folder / "models/one")
    (folder / "models/net.onnx").touch()


def run_folder_of_something_else(folder: Path) -> None:
    """A folder with files of something else."""
    (folder / "run").mkdir()
    (folder / "run" / "thesis.tex").touch()
    run_folder_of("fleet", folder / "run").make()


def state_folder(folder: Path) -> None:
    """The folder of states lies where nothing can be written."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", "/dev/null")
        run_folder_of("laptop").make()


def of_another_fleet(word: str) -> Callable[[Path], object]:
    """A command in the run folder of a fleet that another specification has started."""

    def plant(folder: Path) -> object:
        run = run_folder_of("physics", folder / "run")
        run.make()
        for name in ("physics", "test"):
            (folder / f"{name}.toml").write_text(f'name = "{name}"\n{SERVERS}')
        prepare(run, folder / "physics.toml")
        return command(word, "-f", folder / "test.toml", "--folder", folder / "run")

    return plant


def mixed_authority(folder: Path) -> object:
    """The certificate of one authority beside the key of another."""
    for name in ("one", "two"):
        certificates.make_authority(folder / name)
    shutil.copy(folder / "one" / "ca-key.pem", folder / "two" / "ca-key.pem")
    return command("certificate", "server", "gateway.example.org", "--authority", folder / "two")


def server_named(host: str) -> Callable[[Path], object]:
    def plant(folder: Path) -> object:
        certificates.make_authority(folder / "ca")
        return command("certificate", "server", host, "--authority", folder / "ca")

    return plant


def client(name: str) -> Callable[[Path], object]:
    """A certificate in whose place something else lies."""

    def plant(folder: Path) -> object:
        papers(folder)
        return command("certificate", "client", name, "--authority", folder / "ca")

    return plant


def late_renewal(folder: Path) -> str:
    """The next job is submitted so late that its servers do not answer in time: minutes for seconds."""
    write_model(folder, "one")
    (folder / "fleet.toml").write_text(f'{SERVERS}[slurm]\nrenew = 10\nfolder = "shared"\n')
    return command("slurm", "-f", folder / "fleet.toml", "-o", folder / "jobs")


def plan(content: object, *words: str) -> Callable[[Path], object]:
    def plant(folder: Path) -> object:
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "times.json").write_text(text)
        return command("plan", folder / "times.json", "--clients", 10, "--rate", 1, "--p95", 0.5, *words)

    return plant


def many_cores(folder: Path) -> object:
    cores = len(os.sched_getaffinity(0)) + 1
    return checked(GATEWAY.replace("[servers.cpu]", f"[servers.cpu]\ncores = {cores}"))(folder)


GPU = GATEWAY.replace("[servers.cpu]", '[servers.cpu]\ndevice = "gpu"\ncount = 900')

FAULTS = [
    # Keys and values of the specification.
    Fault("a misspelt key", read(SERVERS + "cuont = 2\n"), "did you mean 'count'", ConfigError),
    Fault("a key in the wrong table", read("port = 8000\n" + SERVERS), "unknown key 'port'", ConfigError),
    Fault("no server", read(SERVERS + "count = 0\n"), "got no server", ConfigError),
    Fault("a negative number of servers", read(SERVERS + "count = -2\n"), "count: got -2", ConfigError),
    Fault("a number as text", read(SERVERS + 'count = "2"\n'), "count: got '2', expected int", ConfigError),
    Fault("a negative scale", lambda folder: command("scale", "--", "-1"), "greater than or equal to 0", str),
    Fault("a port that is none", read(SERVERS + "[gateway]\nport = 80000\n"), "got 80000, expected 1", ConfigError),
    Fault(
        "one port twice", read(SERVERS + "[monitoring]\npage_port = 8000\n"), "that of gateway.port too", ConfigError
    ),
    Fault("another device", read(SERVERS + 'device = "cuda"\n'), "unknown device.*'cuda'", UnknownNameError),
    Fault("a model named twice", read('models = ["one", "one"]\n' + SERVERS), "one more than once", ConfigError),
    Fault(
        "open without tokens", read(SERVERS + '[gateway]\nhost = "0.0.0.0"\n'), "without tls and tokens", ConfigError
    ),
    Fault("a limit for nobody", read(SERVERS + "[gateway]\nrate = 10\n"), "without gateway.tokens", ConfigError),
    Fault("the file is YAML", read("repository: models\n"), "is not TOML", FileError),
    # Units.
    Fault("patience in ms", read("patience = 3000\n" + SERVERS), "patience: got 3000 s.*in ms", ConfigError),
    Fault("time of a start in ms", read("start_timeout = 120000\n" + SERVERS), "start_timeout.*in ms", ConfigError),
    Fault("time of an end in ms", read("exit_timeout = 5000\n" + SERVERS), "exit_timeout.*in ms", ConfigError),
    Fault("wait in ms", read(SERVERS + "[gateway]\nwaiting = 30000\n"), "gateway.waiting.*in ms", ConfigError),
    Fault("arrival in ms", read(SERVERS + "[gateway]\narrival = 5000\n"), "gateway.arrival.*in ms", ConfigError),
    Fault("scrapes in ms", read(SERVERS + "[monitoring]\ninterval = 2000\n"), "interval.*in ms", ConfigError),
    Fault(
        "queue of scaling in s",
        read(SERVERS + '[scaling]\ngroup = "cpu"\nqueue = 0.02\n'),
        r"scaling.queue: got 0.02 ms.*in s\?",
        ConfigError,
    ),
    Fault("body in MiB", read(SERVERS + "[gateway]\nbody = 64\n"), "got 64 bytes.*in MiB", ConfigError),
    Fault("memory in MiB", read(SERVERS + "memory = 4096\n"), "got 4096 GiB.*in MiB", ConfigError),
    Fault("renewal in minutes", late_renewal, "renew: got 10 s, less than start_timeout", str),
    Fault("a limit of time in words", read(SERVERS + '[slurm]\ntime = "4 hours"\n'), "expected HH:MM:SS", ConfigError),
    # Names for others.
    Fault(
        "a host name with a scheme",
        read(SERVERS + '[kubernetes]\nhostname = "https://fleet.example.org"\n'),
        "kubernetes.hostname: got 'https://fleet.example.org', .*no address",
        ConfigError,
    ),
    Fault(
        "a namespace in capitals",
        read(SERVERS + '[kubernetes]\nnamespace = "Physics"\n'),
        "kubernetes.namespace: got 'Physics', expected small letters",
        ConfigError,
    ),
    # Models.
    Fault("no models", models(no_models), "no such folder, expected a model rep", FileError),
    Fault(
        "a folder of ONNX files",
        models(onnx),
        "a folder without models",
        FileError,
    ),
    Fault(
        "the folder of one model",
        models(lambda f: None, GATEWAY.replace('"models"', '"models/one"')),
        "folder of one model, expected that of all models, .*/models",
        FileError,
    ),
    Fault(
        "two models of one name",
        models(lambda f: write_model(f, "copy", "one")),
        "models/copy: got the configuration of a model named 'one', expected 'copy'",
        ConfigError,
    ),
    Fault(
        "a model without a version",
        models(lambda f: (write_model(f, "two") / "1").rmdir()),
        "models/two: got no version",
        FileError,
    ),
    Fault(
        "a model without a configuration",
        models(lambda f: (write_model(f, "two") / "config.pbtxt").unlink()),
        "models/two: got no config.pbtxt in it, so it is not served",
        str,
    ),
    Fault(
        "a check of a model that is not there",
        read(GATEWAY + '[checks.two]\nprogram = "true"\n'),
        "unknown model in checks.*'two'",
        UnknownNameError,
    ),
    Fault(
        "a check by a program that is not there",
        read(GATEWAY + '[checks.one]\nprogram = "no-such-program"\n'),
        r"checks\.one\.program.*'no-such-program'",
        ConfigError,
    ),
    Fault("a model that is not there", read('models = ["two"]\n' + GATEWAY), "unknown model.*'two'", UnknownNameError),
    # Certificates.
    Fault("no certificate", checked(TLS.replace("{certificate}", "none.pem")), "none.pem: got No such file", FileError),
    Fault(
        "a certificate of garbage",
        checked(TLS.replace("{certificate}", "x"), lambda f: (f / "x").write_text("x")),
        "got no certificate",
        FileError,
    ),
    Fault(
        "an expired certificate",
        checked(TLS.replace("{certificate}", "ca/gateway.pem"), expired),
        "gateway.pem: got a certificate that is valid from .* to ",
        FileError,
    ),
    Fault(
        "the key of another certificate",
        checked(TLS.replace("{certificate}", "ca/gateway.pem"), key_of_another),
        "a private key that is not that of the certificate",
        FileError,
    ),
    Fault(
        "a certificate without key",
        checked(TLS.replace("{certificate}", "ca/gateway.pem"), without_key),
        "no private key",
        FileError,
    ),
    Fault(
        "a client as authority",
        checked(TLS.replace("{certificate}", "ca/gateway.pem") + 'client_ca = "ca/alice.pem"\n', leaf_as_authority),
        "CN=alice, which signs no others",
        FileError,
    ),
    Fault(
        "a key that all can read",
        checked(TLS.replace("{certificate}", "ca/gateway.pem"), lambda f: papers(f).chmod(0o644)),
        "others can read its private key",
        str,
    ),
    Fault("an authority of two halves", mixed_authority, "a key that is not that of ca.pem", FileError),
    Fault("a client that is called ca", client("ca"), "the name 'ca', expected another", ConfigError),
    Fault("a client with a path", client("../alice"), "without a slash", ConfigError),
    Fault("a certificate for an address", server_named("https://gateway:8443"), "without scheme and port", ConfigError),
    # Tokens.
    Fault("no file of tokens", checked(GATEWAY + 'tokens = "t"\n'), "beampipe fleet token add", FileError),
    Fault("an empty file of tokens", tokens(""), "got no token, so that each request would be refused", FileError),
    Fault(
        "tokens in place of their hashes",
        tokens("s3cr3t alice\n"),
        "^(?!.*s3cr3t).*line 1: expected SHA256 NAME",
        FileError,
    ),
    Fault("one token for two", tokens(f"{'a' * 64} alice\n{'a' * 64} bob\n"), "one token for alice and bob", FileError),
    Fault("tokens that all can read", tokens(None, 0o644), "others can read the names and hashes", str),
    Fault("tokens that all can write", tokens(None, 0o666), "others can add tokens", FileError),
    # The machine.
    Fault("a port that is taken", taken, r"gateway.port: got \d+ on 127.0.0.1: another program listens", ConfigError),
    Fault(
        "an address of another machine",
        checked(
            TLS.replace("{certificate}", "ca/gateway.pem").replace(
                "port =", 'host = "192.0.2.1"\ntokens = "t"\nport ='
            ),
            lambda f: (papers(f), add_token(f / "t", "alice")),
        ),
        "gateway.host: got 192.0.2.1, which is no address of this machine",
        ConfigError,
    ),
    Fault(
        "a host that does not exist",
        checked(GATEWAY + '[gateway.athena]\nhost = "nowhere.invalid"\nport = 9\n'),
        "gateway.athena.host: got 'nowhere.invalid', which has no address",
        ConfigError,
    ),
    Fault(
        "Athena's port for all",
        checked(GATEWAY + '[gateway.athena]\nnetworks = ["0.0.0.0/0"]\nport = ' + str(free_port())),
        "all may use the models",
        str,
    ),
    Fault("more servers than cores", many_cores, r"cores in sum, more than the \d+ of this machine", str),
    Fault("GPUs that do not exist", checked(GPU), r"900 server\(s\) with a GPU each, and \d+ GPU", ConfigError),
    # Folders.
    Fault("the run folder of another fleet", of_another_fleet("up"), r"expected .*physics\.toml", ConfigError),
    Fault("another fleet is stopped", of_another_fleet("down"), r"expected .*physics\.toml", ConfigError),
    Fault("a run folder with other files", run_folder_of_something_else, "files of something else", ConfigError),
    Fault("a state folder that is read-only", state_folder, "cannot be made .*XDG_STATE_HOME", FileError),
    # Planning.
    Fault("service times in ms", plan({"sizes": [9], "seconds": [145.0]}), "are they in ms", ConfigError),
    Fault("a misspelt key of a measurement", plan({"size": [9], "seconds": [1]}), "did you mean 'sizes'", ConfigError),
    Fault("a time that is none", plan('{"sizes": [9], "seconds": [NaN]}'), "expected a finite number", ConfigError),
    Fault("fewer times than sizes", plan({"sizes": [9, 8], "seconds": [1]}), "2 sizes and 1 seconds", ConfigError),
    Fault("a number of clients below 0", plan({}, "--clients", "-4"), "greater than or equal to 1", str),
]


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_a_fault_is_named(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


def sound(folder: Path) -> Iterator[str]:
    """Specifications without a fault."""
    write_model(folder, "one")
    papers(folder)
    add_token(folder / "tokens", "alice")
    yield GATEWAY
    yield TLS.replace("{certificate}", "ca/gateway.pem") + 'client_ca = "ca/ca.pem"\n'
    yield GATEWAY + 'tokens = "tokens"\n'
    yield GATEWAY.replace("port =", 'host = "localhost"\nwaiting = 600\nanswer = 7200\nport =')
    yield "patience = 120\nstart_timeout = 1800\nexit_timeout = 600\n" + GATEWAY
    yield 'models = ["one"]\n' + GATEWAY + '[scaling]\ngroup = "cpu"\nqueue = 1.0\npatience = 600\n'


def test_what_is_sound_gives_no_note(tmp_path: Path) -> None:
    for text in sound(tmp_path):
        (tmp_path / "fleet.toml").write_text(text.replace("{port}", str(free_port())))
        assert check_fleet(read_fleet(tmp_path / "fleet.toml"), tmp_path / "run") == [], text
    printed = command("check", "-f", tmp_path / "fleet.toml", "--folder", tmp_path / "run", "--json")
    assert json.loads(printed) == {"name": "fleet", "notes": []}
