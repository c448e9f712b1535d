from __future__ import annotations

import json
import os
import socket
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from beampipe import processes
from beampipe.analysisops import sandbox as sandbox_module
from beampipe.analysisops.a2a.client import send_document
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.sandbox import Kind, Sandbox, SandboxLimits, best_kind
from beampipe.errors import ConfigError, ServiceError

MEGABYTE = 1 << 20
namespaces = pytest.mark.skipif(best_kind() != "namespaces", reason="this system gives no namespaces")
KINDS = [pytest.param("namespaces", marks=namespaces), "process"]


def run(program: str, kind: Kind, limits: SandboxLimits | None = None, **more: Any) -> tuple[int | None, str, str]:
    """Exit status, output, and the limit that it exceeded."""
    box = Sandbox(limits or SandboxLimits(seconds=20.0), kind=kind, **more)
    with box.running([sys.executable, "-I", "-c", textwrap.dedent(program)]) as confined:
        return confined.wait(120.0), confined.output(), confined.ended_by


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_and_says_how_it_ended(kind: Kind) -> None:
    assert run("print('here'); raise SystemExit(7)", kind) == (7, "here\n", "")
    assert run("import os; os.abort()", kind)[0] == 128 + 6


@pytest.mark.parametrize("kind", KINDS)
def test_its_environment_is_empty(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "s3cr3t")
    output = run("import os, json; print(json.dumps(dict(os.environ)))", kind)[1]
    assert set(json.loads(output)) == {"PATH", "HOME", "TMPDIR", "LANG"}


_LOOPS = {"one": "while True: pass", "one after the other": "import os\nwhile os.fork(): os.wait()\nsum(range(10**6))"}


@pytest.mark.parametrize("program", _LOOPS.values(), ids=_LOOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_endless_loop_is_ended(kind: Kind, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beampipe.analysisops.contract._WALL_TIME", 1e3)
    status, _, ended_by = run(program, kind, SandboxLimits(seconds=0.5))
    assert status is not None
    assert status != 0
    assert ended_by.startswith("time: got more than 0.5 s of processor time")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sleeper_is_ended(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beampipe.analysisops.contract._WALL_TIME", 1e-2)
    status, _, ended_by = run("import time; time.sleep(1000)", kind, SandboxLimits(seconds=100.0))
    assert status is not None
    assert ended_by.startswith("time: got more than 1 s of wall time")


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_that_wants_too_much_memory_gets_none(kind: Kind) -> None:
    output = run("b = bytearray(600 << 20)", kind, SandboxLimits(seconds=20.0, memory=500 * MEGABYTE))[1]
    assert "MemoryError" in output


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_want_too_much_memory_together_are_ended(kind: Kind) -> None:
    program = """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                b = b"x" * (100 << 20)
                time.sleep(60)
        time.sleep(60)
    """
    assert run(program, kind, SandboxLimits(seconds=20.0, memory=300 * MEGABYTE))[2].startswith("memory")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_too_large_is_cut(kind: Kind) -> None:
    program = """
        try:
            with open("big", "wb") as file:
                file.write(b"x" * (4 << 20))
        except OSError as error:
            print(error.strerror)
    """
    assert run(program, kind, SandboxLimits(seconds=20.0, file_size=MEGABYTE))[1] == "File too large\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_its_session_is_ended_with_it(kind: Kind, tmp_path: Path) -> None:
    """Twice forked, in a session of its own, and its parents are gone."""
    marker = f"left-behind-{os.getpid()}-{kind}"
    program = f"""
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-I", "-c", "import time; time.sleep(60)", "{marker}"])
            os._exit(0)
        time.sleep(0.5)
    """
    assert run(program, kind)[0] == 0
    assert [line for _, line in processes.command_lines() if marker in line] == []


@namespaces
@pytest.mark.parametrize("package", [True, False])
def test_beampipe_can_be_hidden_also_inside_a_folder_that_is_shown(package: bool) -> None:
    folder = Path(sandbox_module.__file__).parents[1]
    program = f"import os; print('errors.py' in os.listdir({str(folder)!r}))"
    status, output, _ = run(program, "namespaces", read_only=[folder.parent], package=package)
    assert (status, output) == (0, f"{package}\n")


@pytest.mark.parametrize("kind", KINDS)
def test_ending_the_block_ends_all(kind: Kind) -> None:
    marker = f"still-there-{os.getpid()}-{kind}"
    program = f"""
        import os, sys
        os.fork()
        os.setsid() if os.getpgrp() != os.getpid() else None
        say = "print('up', flush=True); import time; time.sleep(60)"
        os.execv(sys.executable, [sys.executable, "-I", "-c", say, "{marker}"])
    """
    with Sandbox(kind=kind).running([sys.executable, "-I", "-c", textwrap.dedent(program)]) as confined:
        until = time.monotonic() + 300
        while confined.output().count("up") < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len([line for _, line in processes.command_lines() if marker in line]) == 2
        work = confined.work
    assert [line for _, line in processes.command_lines() if marker in line] == []
    assert not work.exists()


@namespaces
@pytest.mark.parametrize("user_namespace", [False, True])
class TestNamespaces:
    @pytest.fixture(autouse=True)
    def _way(self, user_namespace: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if not sandbox_module._works(user_namespace=user_namespace):
            pytest.skip("this way is closed here")
        monkeypatch.setattr(sandbox_module, "_user_namespace", lambda: user_namespace)

    def test_it_can_write_only_in_its_folder(self) -> None:
        own = f"/tmp/own-{os.getpid()}"
        program = f"""
            import os, tempfile
            open("mine", "w").close()
            for place in ("/", "/usr", "/etc", {sys.prefix!r}, {str(Path(__file__).parents[3] / "src/beampipe")!r}):
                try:
                    open(os.path.join(place, "x"), "w")
                    print("written", place)
                except OSError:
                    pass
            os.makedirs({own!r})
            print(os.listdir("/tmp"))
        """
        status, output, _ = run(program, "namespaces")
        assert status == 0
        assert "written" not in output
        assert not Path(own).exists(), "its /tmp is its own"

    def test_it_sees_no_files_of_others(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("90.123")
        (tmp_path / "secret").chmod(0o644)
        output = run(f"print(open({str(tmp_path / 'secret')!r}).read())", "namespaces")[1]
        assert "90.123" not in output
        assert "FileNotFoundError" in output

    def test_what_it_was_given_is_read_only(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "events").write_text("1 2 3")
        for path in (data, data / "events"):
            path.chmod(0o777)
        program = f"""
            import os
            print(open({str(data / "events")!r}).read())
            for change in (lambda: open({str(data / "events")!r}, "a"), lambda: os.remove({str(data / "events")!r})):
                try:
                    change()
                except OSError as error:
                    print(error.strerror)
        """
        output = run(program, "namespaces", read_only=[data])[1]
        assert output == "1 2 3\nRead-only file system\nRead-only file system\n"

    def test_it_sees_no_other_process(self) -> None:
        program = f"""
            import os, signal
            print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
            try:
                os.kill({os.getpid()}, 0)
            except ProcessLookupError:
                print("nobody")
        """
        assert run(program, "namespaces")[1] == "[1, 2]\nnobody\n"

    def test_it_has_no_rights_and_wins_none(self) -> None:
        program = """
            import ctypes
            fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
            print(int(fields["CapEff"], 16), int(fields["CapBnd"], 16), int(fields["NoNewPrivs"]))
            libc = ctypes.CDLL(None)
            print(libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None), libc.umount2(b"/usr", 2), libc.chroot(b"/tmp"))
        """
        assert run(program, "namespaces")[1] == "0 0 1\n-1 -1 -1\n"

    def test_a_namespace_of_its_own_opens_nothing(self) -> None:
        """With new rights in a new namespace, what is read-only stays so."""
        program = """
            import ctypes
            libc = ctypes.CDLL(None)
            entered = libc.unshare(0x10000000 | 0x20000) == 0
            changed = libc.mount(None, b"/usr", None, ctypes.c_ulong(0x20 | 0x1000), None) == 0  # remount, writable
            try:
                open("/usr/x", "w")
                print("written")
            except OSError:
                print("closed", entered and changed)
        """
        assert run(program, "namespaces")[1] == "closed False\n"

    def test_without_network_nobody_is_reached(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            program = f"""
                import socket
                own = socket.create_server(("127.0.0.1", 0))
                socket.create_connection(own.getsockname())
                try:
                    socket.create_connection(("127.0.0.1", {listener.getsockname()[1]}), 2)
                    print("reached")
                except OSError:
                    print("nobody")
            """
            assert run(program, "namespaces", network=False)[1] == "nobody\n"
            assert run(program, "namespaces")[1] == "reached\n"


@namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives processes a user of their own")
def test_forks_without_end_hit_a_limit() -> None:
    program = """
        import os, time
        count = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(60)
                count += 1
        except OSError as error:
            print(count < 40, error.strerror, flush=True)
    """
    limits = SandboxLimits(seconds=20.0, processes=40)
    assert run(program, "namespaces", limits)[1] == "True Resource temporarily unavailable\n"


def test_what_is_not_closed_is_said() -> None:
    open_words = " ".join(Sandbox(kind="process").weaknesses())
    assert "sees the processes" in open_words
    assert "network is open" in open_words
    assert "SIGCHLD" in open_words
    if best_kind() == "namespaces":
        closed = Sandbox(network=False).weaknesses()
        assert not any("network" in item or "sees the processes" in item for item in closed)


def test_namespaces_that_are_not_there_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "best_kind", lambda: "process")
    for wish in ({"kind": "namespaces"}, {"network": False}):
        with pytest.raises(ConfigError, match="namespaces"):
            Sandbox(**wish)
    assert Sandbox().kind == "process"


@namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives processes a user of their own")
def test_an_environment_of_root_alone_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(sandbox_module, "_python_folders", lambda: (tmp_path,))
    with pytest.raises(ConfigError, match=rf"run chmod a\+rx {tmp_path}"):
        Sandbox(kind="namespaces")
    tmp_path.chmod(0o755)
    assert Sandbox(kind="namespaces").kind == "namespaces"


def test_a_program_without_its_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="whole path"), Sandbox().running(["python"]):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_in_a_sandbox_answers(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = (
        "from beampipe.analysisops.registry import make_agent;"
        "from beampipe.analysisops.agents.serving import serve_agent;"
        f"serve_agent(make_agent('recall'), port={port})"
    )
    with Sandbox(kind=kind).running([sys.executable, "-I", "-c", program]) as confined:
        until = time.monotonic() + 300
        while True:
            try:
                answer = send_document(f"http://127.0.0.1:{port}/", TaskRequest("t", "zmumu", 1, "?").to_json())
                break
            except ServiceError:
                assert confined.wait(0.1) is None, confined.output()
                assert time.monotonic() < until, confined.output()
    assert answer["answers"]["mass"]["value"] == 91.188
