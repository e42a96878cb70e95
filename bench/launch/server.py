"""Imported by the server that cells are forked from, and by nobody else.

A SIGTERM to a whole group of processes, as schedulers send it, must not end the server before its
cells: it is the one that knows how they ended.
"""

import signal
import sys
import warnings

signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)

if not sys.warnoptions:  # what libraries will change some day says nothing to users; python -W asks
    for kind in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", kind)
