"""Where NVIDIA Triton comes from: a folder filled once from the wheel `nvidia-pytriton`, or any other install.

The wheel is installed without its dependencies and never onto ``sys.path``: of it only the server, the Python backend
and its stubs (one per Python version) are used. Its pin of an old numpy thus stays out of the environment.
"""

from beampipe.triton.engine.backends import Interpreter, prepare_backends, this_interpreter
from beampipe.triton.engine.finding import ENGINE_VARIABLE, STUB, Engine, default_folder, find_engine
from beampipe.triton.engine.installing import install_engine

__all__ = [
    "ENGINE_VARIABLE",
    "STUB",
    "Engine",
    "Interpreter",
    "default_folder",
    "find_engine",
    "install_engine",
    "prepare_backends",
    "this_interpreter",
]
