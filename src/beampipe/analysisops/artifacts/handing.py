"""Inputs of an agent that submits artifacts: a copy of the data, and the part of the prompt that describes them."""

from __future__ import annotations

import shutil
from pathlib import Path

from beampipe.analysisops.artifacts.form import ARTIFACTS, lists_of
from beampipe.analysisops.artifacts.reading import COLUMNS, FORMATS, LARGEST, MOST_ROWS
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder
from beampipe.files import make_folder


def copy_data(data: Path, folder: Path) -> Path:
    """Copy a manifest and the files that it lists into a new, read-only folder.

    Other files beside the data are not copied. The host checks artifacts against its own files, so an agent that
    changes its copy gains nothing.

    Args:
        data: folder of the instance's data.
        folder: folder of the copy.

    Returns:
        The folder of the copy.
    """
    make_folder(folder)
    for path in (*(file.path for file in DataFolder(data).files()), data / MANIFEST):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o444)
    folder.chmod(0o555)
    return folder


def what_to_hand_in(family: str) -> str:
    """The part of a task's prompt that describes which artifacts to submit, and their format.

    Raises:
        UnknownNameError: nothing can be handed in for that family.
    """
    wanted = lists_of(family)
    lists = "\n".join(f"- `{one.name}`: {one.what}." for one in wanted)
    shown = ",\n           ".join(
        f'"{one.name}": {{"file": "{one.name}.csv", "model": "MODEL", "window": [LOW, HIGH], "unbinned": true}}'
        for one in wanted
    )
    return f"""## What to hand in

Analyse the files with code of your own. Hand in lists, not numbers: the host finds each event in the data, computes its
mass again, and fits those masses with the model and in the window that you name. Leave in your folder:

{lists}

Each list is one file with the columns `{COLUMNS[0]}`, the number of the event in the data, and `{COLUMNS[1]}`, its
mass in GeV, to at least five digits. Each event stands in it once. Formats: {", ".join(FORMATS)} (a .csv with a line of
names, a .json with an object of two lists, a .npy with these fields or two columns), at most {LARGEST >> 20} MiB and
{MOST_ROWS} rows. A list whose events or masses the data do not have counts for nothing.

`{ARTIFACTS}` names them, with the model and the window of each fit:

{{"status": "ok",
 "lists": {{{shown}}},
 "words": {{}}, "method": {{"selection": "...", "model": "...", "window": "...", "uncertainty": "..."}}}}
"""
