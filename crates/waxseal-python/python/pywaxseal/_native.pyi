"""The native half of `pywaxseal`. Everything public is in `pywaxseal` itself."""

import os
from collections.abc import Buffer, Callable, Mapping, Sequence
