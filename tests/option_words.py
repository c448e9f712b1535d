"""Option names that commands share, with their type, meaning and short name.

An option with one of these names must have this type, this short name, and a help text of this form. Any other option
belongs to one command, or has the same help text in all commands. `test_option_words.py` checks all commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["WORDS", "Word"]


class Word(NamedTuple):
    """Meaning of the name of an option.

    Attributes:
        kind: type of its value; float if some commands accept whole numbers only.
        says: regular expression that the start of the help text must match.
        short: short name of one letter; empty for none.
    """

    kind: type
    says: str
    short: str = ""


WORDS: Final[dict[str, Word]] = {
    # What is written, and how much is said.
    "--output": Word(Path, r"Folder|\S+ file|File|Picture", "-o"),
    "--json": Word(bool, r"Print JSON"),
    "--quiet": Word(bool, r"Print no progress", "-q"),
    "--log": Word(Path, r"File to .*append"),
    # How much is done, by how many.
    "--events": Word(int, r"Number of events|Largest number of events", "-n"),
    "--queue": Word(int, r"(Most requests that wait|Largest number of events under way)"),
    "--rate": Word(float, r"(Events per second|Mean number of events .* per second)"),
    "--seed": Word(int, r"Seed of"),
    "--workers": Word(int, r"Number of (processes|assessments at once)", "-j"),
    "--threads": Word(int, r"Number of .*threads"),
    "--seconds": Word(float, r"(Duration|Length) of .*in seconds"),
    "--interval": Word(float, r"Time between two .*in seconds"),
    "--patience": Word(float, r".*in seconds"),
    "--files": Word(int, r"Number of files"),
    "--share": Word(float, r"Share of the artifacts|Try the new models on this share"),
    # Track finding.
    "--pipeline": Word(str, r"Name of (the|a) (pipeline|finder)", "-p"),
    "--tracker-model": Word(str, r"Tracker model"),
    "--beam-spot": Word(str, r"Where the beam line runs"),
    "--min-layers": Word(int, r"Fewest layers"),
    "--min-pt": Word(float, r"Lowest pT.*GeV"),
    "--device": Word(str, r"Device"),
    "--as": Word(str, r"What to write: "),
    "--scale": Word(str, r"(Units|What one unit) of.*mm, exatrkx or acts"),
    "--force": Word(bool, r"(Go on|Process events|Replace).*(another detector|particles|beampipe did not write)"),
    "--mu": Word(float, r"(Mean number of pile-up|Pile-up)"),
    "--eta": Word(float, r".*(eta\||Pseudorapidity)"),
    "--pt": Word(float, r".*(pT|momentum).*GeV"),
    # Servers and models.
    "--url": Word(str, r"Address of"),
    "--model": Word(str, r"Name of (a|the) model", "-m"),
    "--instances": Word(int, r"Number of (copies|instances)|Instances of the model"),
    "--concurrency": Word(int, r"Number of requests in flight"),
    "--recorded": Word(Path, r".*(recorded|Recorded) request"),
    "--host": Word(str, r"Address to listen on"),
    "--port": Word(int, r"Port"),
    "--name": Word(str, r"Name"),
    "--secret-file": Word(Path, r"File with the .*secret"),
    "--token-file": Word(Path, r"File with the .*token"),
    "--ca": Word(Path, r"PEM file of the authority"),
    "--certificate": Word(Path, r"PEM file with the certificate and key"),
    "--memory": Word(str, r"(Most memory|Memory) of"),
    # Fleets.
    "--file": Word(Path, r"Specification of the fleet", "-f"),
    "--folder": Word(Path, r"Folder for"),
    "--group": Word(str, r"Group of servers"),
    "--p95": Word(float, r"Largest 95th percentile of the latency, in seconds"),
    # Tasks for agents.
    "--card-url": Word(str, r"Address under which clients reach"),
    "--task": Word(str, r"Name of a shipped task", "-t"),
    "--agent": Word(str, r"Agent to run", "-a"),
    "--level": Word(int, r"How much prompts tell", "-l"),
    # The calibration.
    "--results": Word(Path, r"Folder of the results"),
    "--working-point": Word(float, r"Working point", "-w"),
}
"""Every shared name, with its meaning."""
