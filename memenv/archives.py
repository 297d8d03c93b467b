"""What goes wrong when a file of arrays is damaged: NumPy, zip and zlib each have errors of their own."""

import tokenize
import zipfile
import zlib

UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, SyntaxError, RuntimeError),  # NotImplementedError is one
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
