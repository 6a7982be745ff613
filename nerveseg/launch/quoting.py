"""Quoting of paths for Hydra's override grammar."""

import re


def quote_path(path: str) -> str:
    r"""Return a path as a quoted string that Hydra and OmegaConf turn back into the same path.

    OmegaConf reads `${` as an interpolation unless a backslash precedes it, and halves the backslashes before an
    escaped `${`; Hydra halves backslashes before a quote. The path `???`, OmegaConf's sign for a missing value, has no
    escape and becomes `./???`.

    >>> print(quote_path("it's, 50 %"))
    'it\'s, 50 %'
    """
    if path == "???":
        path = "./???"
    path = re.sub(r"(\\*)\$\{", r"\1\1\\${", path)
    path = re.sub(r"(\\*)'", r"\1\1\\'", path)
    path = re.sub(r"(\\+)\Z", r"\1\1", path)
    return f"'{path}'"
