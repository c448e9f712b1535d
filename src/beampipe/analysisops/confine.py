"""Confine the calling process, then replace it by the agent's command.

Runs as a script with the standard library alone, so that a process that is about to drop its rights loads no other
code: ``python -I -S confine.py PLAN``, the plan as JSON. It involves three processes::

    outside    waits; adopts orphaned descendants, so that the host can kill all of them
    init       only with namespaces: process 1 of a new PID namespace, builds the file system that the agent sees
    agent      sets its limits, drops its user and capabilities, executes the command
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from typing import Any, Final, NoReturn

FAILED: Final = 97
"""Exit status if the sandbox could not be built; the agent was not started."""

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
_DETACH: Final = 2
_PDEATHSIG, _DUMPABLE, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS = 1, 4, 24, 36, 38
_MOUNT_SETATTR: Final = 442
_PIVOT_ROOT: Final[Mapping[str, int]] = {"x86_64": 155, "aarch64": 41}
"""Numbers of system calls without a function in the C library."""

_RECURSIVE: Final = 0x8000
_ATTRIBUTES: Final = 0x1 | 0x2 | 0x4
"""Read-only, no set-user-id, no devices; for a mount and all mounts below it."""

_CHECK_SECONDS: Final = 1.0
"""Interval between checks that the host is still running [s]."""

_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_IFF_UP, _SIOCSIFFLAGS = 0x1, 0x8914

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> NoReturn:
    """Confine this process as the plan describes, and run the command."""
    plan: dict[str, Any] = json.loads(arguments[0])
    host = os.getppid()
    try:
        _check(_libc.prctl(_SUBREAPER, 1, 0, 0, 0), "prctl")
        if plan["namespaces"]:
            # New namespaces for mounts, processes, IPC and host names; for users and the network if the plan requires
            # them.
            uid, gid = os.geteuid(), os.getegid()
            flags = _NEWNS | _NEWPID | _NEWIPC | _NEWUTS
            flags |= _NEWUSER if plan["user_namespace"] else 0
            flags |= 0 if plan["network"] else _NEWNET
            _check(_libc.unshare(flags), "unshare")
            if plan["user_namespace"]:
                Path("/proc/self/setgroups").write_text("deny")
                Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
                Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
            child = os.fork() or _init(plan)
        else:
            child = os.fork() or _agent(plan)
    except OSError as error:
        _fail(error)

    def end_without_host(*_: object) -> None:
        if os.getppid() != host:  # the host has ended already, and no signal will come
            _end_rest()
            os._exit(FAILED)

    signal.signal(signal.SIGALRM, end_without_host)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)
    _wait_for(child)


def _init(plan: Mapping[str, Any]) -> NoReturn:
    """The first process of a PID namespace: when it ends, the kernel kills all others there."""
    try:
        _check(_libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        _check(_libc.prctl(_DUMPABLE, 0, 0, 0, 0), "prctl")
        _build(plan)
        if not plan["network"]:
            with socket.socket() as any_socket:
                ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        child = os.fork() or _agent(plan)
    except OSError as error:
        _fail(error)
    _wait_for(child)


def _build(plan: Mapping[str, Any]) -> None:
    """Build the file system that the agent sees: the named paths, read-only, and its own folder."""
    root, work = Path(plan["root"]), Path(plan["work"])
    os.umask(0o022)
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=755,size=16m")
    for name, size in (("/dev/shm", plan["memory"]), ("/tmp", plan["file_size"])):
        target = root / name[1:]
        target.mkdir(parents=True)
        _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, f"mode=1777,size={size}")
    for name in plan["read_only"]:
        _bind(Path(name), root)
    for name in plan.get("hidden", ()):
        if (target := root / name[1:]).exists():
            _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, "mode=755,size=4k")
            _seal(target)
    for name in _DEVICES:
        _bind(Path("/dev", name), root, sealed=False)
    _bind(work, root, sealed=False)
    old = root / ".old"
    old.mkdir()
    (root / "proc").mkdir(exist_ok=True)
    _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"no number of pivot_root for {platform.machine()}")
    _check(_libc.syscall(number, bytes(root), bytes(old)), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/.old", _DETACH), "umount2")
    Path("/.old").rmdir()
    _seal(Path("/"), recursive=False)


def _bind(path: Path, root: Path, *, sealed: bool = True) -> None:
    """Mount a file or folder at the same path below the new root; system links such as ``/lib`` are recreated."""
    target = root / path.relative_to("/")
    if path.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.readlink(path))
        return
    if path.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(path, target, None, _BIND | _REC)
    if sealed:
        _seal(target)


def _seal(target: Path, *, recursive: bool = True) -> None:
    attributes = struct.pack("=QQQQ", _ATTRIBUTES, 0, 0, 0)
    flags = _RECURSIVE if recursive else 0
    done = _libc.syscall(_MOUNT_SETATTR, -100, bytes(target), flags, attributes, len(attributes))
    _check(done, f"mount_setattr {target}")


def _mount(source: str | Path | None, target: str | Path, kind: str | None, flags: int, options: str = "") -> None:
    def raw(text: str | Path | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    done = _libc.mount(raw(source), raw(target), raw(kind), ctypes.c_ulong(flags), raw(options or None))
    _check(done, f"mount {target}")


def _agent(plan: Mapping[str, Any]) -> NoReturn:
    """Set limits, drop rights, execute the command."""
    try:
        for name, value in plan["limits"].items():
            limit = getattr(resource, name)
            hard = resource.getrlimit(limit)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (most, most))
        for capability in range(64):
            _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # fails for capabilities that do not exist or are not held
        if plan["user"] is not None:
            os.setgroups([])
            os.setresgid(plan["user"], plan["user"], plan["user"])
            os.setresuid(plan["user"], plan["user"], plan["user"])
        _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
        os.chdir(plan["work"])
        os.umask(0o077)
        os.execve(plan["command"][0], plan["command"], plan["environment"])
    except (OSError, ValueError) as error:
        _fail(error)


def _wait_for(child: int) -> NoReturn:
    """Reap processes until the child ends; then kill all others, and exit with its status."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pid, status = os.wait()
    while pid != child:
        pid, status = os.wait()
    _end_rest()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _end_rest() -> None:
    """Kill all descendants; orphans become children of this process."""
    while True:
        with suppress(OSError):  # this file or /proc may be missing
            for pid in Path("/proc/thread-self/children").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _check(done: int, what: str) -> None:
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _fail(error: Exception) -> NoReturn:
    print(f"sandbox: {error}", file=sys.stderr, flush=True)
    os._exit(FAILED)


if __name__ == "__main__":
    main(sys.argv[1:])
