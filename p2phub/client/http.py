"""httpx, without the command line that it carries.

Importing httpx also imports its own command line, and with it rich and click, which takes longer
than all the rest. Where they are not installed httpx does without; here it is told that they are
not. Nothing else of httpx changes, and who imported it before us keeps what they have.
"""

import sys
from types import ModuleType
from typing import cast

_absent = cast(ModuleType, None)  # what `import` takes for "there is no such module"
_undecided = sys.modules.setdefault("httpx._main", _absent) is None

import httpx  # noqa: E402  must come after the line above

if _undecided:
    del sys.modules["httpx._main"]

__all__ = ["httpx"]
