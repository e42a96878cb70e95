"""Imported by the server that cells are forked from, and by nobody else.

A SIGTERM to a whole group of processes, as schedulers send it, must not end the server before its
cells: it is the one that knows how they ended.
"""

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
