"""Exports Triton model repositories, generated from typed settings and never edited by hand."""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.triton.model import contract
from beampipe.triton.model.canary import write_canary
from beampipe.triton.model.contract import (
    EnsembleSettings,
    Instance,
    Model,
    ModelRequest,
    ModelSettings,
    Symbol,
    model_class,
    tensor_configuration,
    triton_type,
)

# Writes a dictionary in protobuf's text format, as far as ``config.pbtxt`` needs it.


def to_pbtxt(message: Mapping[str, Any]) -> str:
    """The message as text; a list is a repeated field, a dictionary a message.

    >>> print(to_pbtxt({"name": "m", "output": [{"data_type": Symbol("TYPE_FP32"), "dims": [-1, 3]}]}))
    name: "m"
    output {
      data_type: TYPE_FP32
      dims: -1
      dims: 3
    }
    <BLANKLINE>
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in message.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield f"{indent}{key} {{"
                yield from _lines(each, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{key}: {_pbtxt_scalar(each)}"


def _pbtxt_scalar(value: object) -> str:
    if isinstance(value, Symbol):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)  # quotes and escapes as in C


# The contents of a model's ``config.pbtxt``, as nested dictionaries for `to_pbtxt`.


def model_configuration(settings: ModelSettings, model: type[Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of one model.

    Args:
        settings: what the model is to be.
        model: class of the model, which declares the tensors.
        parameters: values by name of the section ``parameters``.
    """
    ragged = {"allow_ragged_batch": True} if settings.max_batch_size else {}
    config: dict[str, Any] = {
        "name": settings.name,
        "backend": settings.backend,
        "max_batch_size": settings.max_batch_size,
        "input": [{**tensor_configuration(spec), **ragged} for spec in model.inputs],
        "output": [tensor_configuration(spec) for spec in model.outputs],
        "instance_group": [_instance_group(settings)],
        "version_policy": {"latest": {"num_versions": 1}},
        "parameters": _parameters(parameters),
    }
    if settings.max_batch_size:
        # No queue delay: batches form while the previous one runs. No queue policy: it stalls requests (see the docs).
        config["dynamic_batching"] = {}
    return config


def ensemble_configuration(settings: EnsembleSettings) -> dict[str, Any]:
    """The configuration of a chain of models."""
    models = [model_class(step.model) for step in settings.steps]
    # A step makes only what it is asked for: what nobody takes is not asked for.
    taken = {spec.name for model in models for spec in model.inputs} | {spec.name for spec in settings.outputs}
    names = {made: name for name, made in settings.made_from.items()}
    steps = []
    for step, model in zip(settings.steps, models, strict=True):
        outputs = {spec.name: names.get(spec.name, spec.name) for spec in model.outputs}
        kept = {name: wire for name, wire in outputs.items() if wire in taken and name not in settings.made_from}
        steps.append(
            {
                "model_name": step.name,
                "model_version": -1,
                "input_map": [{"key": spec.name, "value": spec.name} for spec in model.inputs],
                "output_map": [{"key": name, "value": wire} for name, wire in kept.items()],
            }
        )
    return {
        "name": settings.name,
        "platform": "ensemble",
        "max_batch_size": 0,
        "input": [tensor_configuration(spec) for spec in settings.inputs],
        "output": [tensor_configuration(spec) for spec in settings.outputs],
        "parameters": _parameters(settings.steps[0].parameters),
        "ensemble_scheduling": {"step": steps},
    }


def _parameters(parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in sorted(parameters.items())]


def _instance_group(settings: ModelSettings) -> dict[str, Any]:
    kind, _, number = settings.device.partition(":")
    group: dict[str, Any] = {
        "count": settings.instances,
        "kind": Symbol({"cpu": "KIND_CPU", "cuda": "KIND_GPU", "auto": "KIND_AUTO"}[kind]),
    }
    if number:
        group["gpus"] = [int(number)]
    return group


# The folder of one model in a repository: configuration, weights, ``model.py``, and the canary that it is
# asked.


_CONFIG: Final = "config.pbtxt"

_MODEL_PY: Final = "model.py"

_WEIGHTS: Final = "weights"

_MODEL_PY_TEXT: Final = '''"""Generated by `beampipe serving export`; changes here are lost."""

from beampipe.triton.model.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_model(folder: Path, settings: ModelSettings, request: ModelRequest | None = None) -> dict[str, ndarray]:
    """Write the folder of one model.

    Args:
        folder: where the folder shall be; there must be none.
        settings: what the model is to be.
        request: the request of the canary, perhaps with further arrays; the example of `settings` or of the model if
            not given.

    Returns:
        The arrays of the request and of the answer, by name.

    Raises:
        ConfigError: the class cannot be used, or the model answers the request with an error or not as it declares.
    """
    version = folder / "1"
    version.mkdir(parents=True)
    path = _copy_class(settings, version)
    found = model_class(path, version)
    _check_types(settings.name, found)
    _copy_weights(settings, folder / _WEIGHTS)
    _copy_libraries(settings, folder)
    parameters = {
        **settings.parameters,
        contract.EXECUTION_MODEL_PATH: f"{contract.MODEL_DIRECTORY}/{_WEIGHTS}",
        contract.THREADS: "auto" if settings.threads is None else str(settings.threads),
    }
    if settings.backend == contract.PYTHON_BACKEND:
        parameters[contract.MODEL_CLASS] = path
        (version / _MODEL_PY).write_text(_MODEL_PY_TEXT)
    (folder / _CONFIG).write_text(to_pbtxt(model_configuration(settings, found, parameters)))
    instance = Instance(f"{settings.name}_export", "cpu", 1, folder / _WEIGHTS, parameters)
    model = _made(settings.name, found, instance)
    arrays = request or settings.example or found.example()
    asked = {spec.name: arrays[spec.name] for spec in found.inputs}
    answer = _answer_to_example(settings.name, model, asked)
    write_canary(version, asked, {spec.name: answer[spec.name] for spec in found.outputs if spec.exact})
    return {**arrays, **answer}


def write_ensemble(repository: Path, settings: EnsembleSettings) -> None:
    """Write the folders of a chain of models and of each of its steps.

    Args:
        repository: the folder that holds the folders of the models.
        settings: what the chain is to be.

    Raises:
        ConfigError: as `write_model` does for a step.
    """
    arrays: dict[str, ndarray] = {}
    for step in settings.steps:
        arrays |= write_model(repository / step.name, step, arrays or None)
    folder = repository / settings.name
    (folder / "1").mkdir(parents=True)
    (folder / _CONFIG).write_text(to_pbtxt(ensemble_configuration(settings)))
    request = {spec.name: arrays[spec.name] for spec in settings.inputs}
    made = {spec.name: arrays[settings.made_from.get(spec.name, spec.name)] for spec in settings.outputs if spec.exact}
    write_canary(folder / "1", request, made)


def _copy_class(settings: ModelSettings, version: Path) -> str:
    """Copy the file of a model's class, if it is in a file; gives the name by which the model finds the class."""
    where, _, name = settings.model.rpartition(":")
    file = Path(where)
    if file.suffix != ".py":
        return settings.model
    if file.name == _MODEL_PY:
        raise ConfigError(f"{settings.name}: got {where}, expected another name: {_MODEL_PY} is what Triton looks for")
    shutil.copyfile(where, version / file.name)
    return f"{file.name}:{name}"


def _check_types(name: str, model: type[Any]) -> None:
    for spec in (*model.inputs, *model.outputs):
        fitting = triton_type(np.dtype(spec.dtype))
        if fitting != spec.triton_type:
            raise ConfigError(
                f"{name}: got {spec.name} of {spec.triton_type} and {np.dtype(spec.dtype)}, expected the same"
                f" type twice, such as {fitting}"
            )


def _copy_weights(settings: ModelSettings, folder: Path) -> None:
    for file in settings.weights:
        if (folder / file.name).exists():
            raise ConfigError(f"{settings.name}: got two weights named {file.name}, expected distinct names")
        folder.mkdir(exist_ok=True)
        shutil.copyfile(file, folder / file.name)


def _copy_libraries(settings: ModelSettings, folder: Path) -> None:
    """Copy the libraries of a native backend. Models of one repository share a file: the server then loads it once."""
    for library in settings.libraries:
        for neighbour in folder.parent.glob(f"*/{library.name}"):
            if filecmp.cmp(neighbour, library, shallow=False):
                (folder / library.name).hardlink_to(neighbour)
                break
        else:
            shutil.copyfile(library, folder / library.name)


def _made(name: str, model: type[Any], instance: Instance) -> Model:
    try:
        made: Model = model(instance)
    except BeampipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{name}: got {error} from the model, expected its files among its weights") from error
    return made


def _answer_to_example(name: str, model: Model, request: ModelRequest) -> ModelRequest:
    try:
        (answer,) = model.run([request])
    except BeampipeError as error:
        answer = error
    if isinstance(answer, BeampipeError):
        raise ConfigError(f"{name}: got an error from its own example, expected an answer: {answer}")
    for spec in model.outputs:
        array = answer.get(spec.name)
        if array is None or array.dtype != spec.dtype or array.ndim != len(spec.dims):
            got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise ConfigError(
                f"{name}: got {got} for {spec.name}, expected {np.dtype(spec.dtype)} {list(spec.dims)} as declared"
            )
    return answer


# Triton model repositories, generated from typed settings and never edited by hand.


MANIFEST: Final = ".beampipe.json"
"""Name of the file in a repository that says what was generated, with a digest of each file."""


def export_repository(folder: Path, models: Iterable[ModelSettings | EnsembleSettings]) -> list[str]:
    """Write a model repository.

    Args:
        folder: folder of the repository. It is new, or empty, or was written by an earlier export and not touched
            since; then it is replaced.
        models: the models to serve.

    Returns:
        Names of the models to load; a step of an ensemble comes before the ensemble.

    Raises:
        ConfigError: the folder holds something else, two models have one name, or a model answers its own example
            with an error or not as it declares.
        FileError: weights are missing, or the folder cannot be written.
    """
    folder = folder.resolve()
    _require_ours(folder)
    models = list(models)
    flat: list[ModelSettings | EnsembleSettings] = []
    for settings in models:
        flat += [*settings.steps, settings] if isinstance(settings, EnsembleSettings) else [settings]
    names = [settings.name for settings in flat]
    if len(set(names)) < len(names):
        raise ConfigError(f"models: got {', '.join(names)}, expected distinct names")
    building, retired = folder.with_name(f".{folder.name}.building"), folder.with_name(f".{folder.name}.retired")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        for settings in models:
            if isinstance(settings, EnsembleSettings):
                write_ensemble(building, settings)
            else:
                write_model(building / settings.name, settings)
        manifest = {"models": names, "files": _digests(building)}
        (building / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        _let_no_stranger_write(building)
        _replace(folder, building, retired)
    except BeampipeError:
        raise
    except OSError as error:
        raise FileError(f"{folder}: got {error}, expected to write a model repository there") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return names


def _let_no_stranger_write(folder: Path) -> None:
    """Who writes to a repository runs code as the user of its server, whatever the umask of the export was."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~stat.S_IWOTH)


def _replace(folder: Path, building: Path, retired: Path) -> None:
    """Put the new folder in the place of the old one, which stays whole until then."""
    shutil.rmtree(retired, ignore_errors=True)
    if folder.exists():
        folder.rename(retired)
    building.rename(folder)
    shutil.rmtree(retired, ignore_errors=True)


def _require_ours(folder: Path) -> None:
    """Refuse to replace what an export did not write."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        files = None
    if not isinstance(files, dict):
        raise ConfigError(f"{folder}: got a folder that no export wrote, expected a new one; choose another name")
    now = _digests(folder)
    changed = sorted(name for name in {*files, *now} if files.get(name) != now.get(name))
    if changed:
        raise ConfigError(
            f"{folder}: got changes by hand in {', '.join(changed[:3])}, expected what the last export wrote;"
            " move the folder away, or delete it"
        )


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of each file, but for those that Python and this module make beside them."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and "__pycache__" not in path.parts
    }
