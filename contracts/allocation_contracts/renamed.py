"""Old names that still work, with a warning."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def aliases(module: str, new_names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module, under which its old names still work.

    Args:
        module: The module's `__name__`.
        new_names: The new name by the old one.
    """

    def get(name: str) -> Any:  # noqa: ANN401 - a module's attribute
        new = new_names.get(name)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is called {new} now.", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], new)

    return get
