"""Modules and packages that are imported when they are first used.

Every `snakemake -n` reads the registries, and every job starts a process: seconds of imports that it makes no use of add up.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


class Deferred:
    """Stands for a module that is slow to import: `torch = Deferred("torch")`.

    Its attributes are the module's. Annotations that name it need `from __future__ import annotations`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def defer_package(name: str, /, **known: Any) -> None:
    """Let the submodules of a package be imported without what its own `__init__` imports beside them.

    `__init__` runs once a name is looked up in the package that is no submodule imported by then. A package that was imported
    before stays as it is.

    known: what stands for names of the package until then. Its submodules are imported after the whole of it, if so.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    package = module_from_spec(spec)

    def load(attribute: str) -> Any:
        del package.__getattr__
        package.__path__ = spec.submodule_search_locations
        spec.loader.exec_module(package)
        return getattr(package, attribute)

    package.__getattr__ = load
    if known:
        vars(package).update(known)
        del package.__path__  # which an import of a submodule looks up
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
