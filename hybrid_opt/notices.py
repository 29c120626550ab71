"""Notices: what a user should know of a fault that ends nothing."""

import warnings


def notice(line: str, stacklevel: int = 1) -> None:
    """Warn with a RuntimeWarning, which is shown but not raised where filters turn warnings into errors.

    Such filters may come with any code of the user's, such as an environment. Other filters are obeyed.

    stacklevel: as of warnings.warn, from the caller on.
    """
    try:
        warnings.warn(line, RuntimeWarning, stacklevel=stacklevel + 1)
    except RuntimeWarning:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(line, RuntimeWarning, stacklevel=stacklevel + 1)
