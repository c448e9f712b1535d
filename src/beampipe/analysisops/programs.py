"""Agents that run their own code: a sandboxed program that gets a copy of the data and writes artifacts."""

from __future__ import annotations

import json
import shutil
import stat
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe.analysisops.artifacts import answer_from_artifacts, copy_data, instructions, read_artifacts
from beampipe.analysisops.assessment import Answer, Ask
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.sandbox import Sandbox, SandboxLimits, best_kind
from beampipe.analysisops.tools.session import Session
from beampipe.errors import BeampipeError

DATA: Final = "BEAMPIPE_DATA"
"""Environment variable with the read-only folder of the data."""
REQUEST: Final = "BEAMPIPE_REQUEST"
"""Environment variable with the file of the request, the same JSON that other agents receive."""

_SHOWN: Final = 300
"""Number of characters of a failed program's output that are shown."""


def ask_program(program: Path, prepared: PreparedInstance) -> Ask:
    """Run a program on a copy of the data; it writes `artifacts.json` into its working directory.

    The host computes the answers from the artifacts, see `beampipe.analysisops.artifacts`. If the system supports
    namespaces, the program has no network.

    Args:
        program: Python file, or any executable.
        prepared: the instance.
    """

    def ask(request: TaskRequest, session: Session) -> Answer:
        family = prepared.task.spec.family
        home = Path(tempfile.mkdtemp(prefix="beampipe-program-"))
        try:
            request = replace(request, prompt=f"{request.prompt}\n\n{instructions(family)}")
            read_only, command, environment = _lay_out(home, program, prepared.data, request)
            limits = SandboxLimits(seconds=prepared.task.spec.time_limit)
            sandbox = Sandbox(limits, read_only=[read_only], network=best_kind() != "namespaces")
            with sandbox.running(command, environment) as confined:
                code = confined.wait()
                if code != 0:
                    why = f"ended for {confined.ended_by}" if confined.ended_by else f"exit status {code}"
                    return Answer(None, f"program: {why}; it said: {confined.output()[-_SHOWN:]}")
                try:
                    given = read_artifacts(confined.work, family)
                    submission = answer_from_artifacts(
                        prepared.task, given, prepared.data, prepared.hidden, session.ledger
                    )
                except Exception as error:  # whatever the artifacts cause is the program's failure
                    if isinstance(error, BeampipeError):
                        raise
                    return Answer(None, f"{type(error).__name__} while the artifacts were read")
            return Answer(submission)
        except BeampipeError as error:
            return Answer(None, str(error))
        finally:
            for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
                folder.chmod(0o700)
            shutil.rmtree(home, ignore_errors=True)

    return ask


def _lay_out(home: Path, program: Path, data: Path, request: TaskRequest) -> tuple[Path, list[str], dict[str, str]]:
    """The folder with all files that the program may read, its command, and its environment."""
    home.chmod(0o755)
    read_only = home / "given"
    read_only.mkdir(mode=0o755)
    copy = copy_data(data, read_only / "data")
    request_file = read_only / "request.json"
    request_file.write_text(json.dumps(request.to_json()), encoding="utf-8")
    own = read_only / program.name
    shutil.copyfile(program, own)
    own.chmod(0o755)
    request_file.chmod(0o644)
    executable = program.suffix != ".py" and bool(program.stat().st_mode & stat.S_IXUSR)
    command = [str(own)] if executable else [sys.executable, str(own)]
    return read_only, command, {DATA: str(copy), REQUEST: str(request_file)}
