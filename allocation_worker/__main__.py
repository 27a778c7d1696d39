"""`python -m allocation_worker` is `allocation-worker`."""

import os
import signal
import sys

_INTERRUPTED = 130
_TERMINATED = 128 + signal.SIGTERM
_UNTIL_SIGTERM = ("consume", "relay", "project", "tail")


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly, also while it is still being imported, which takes a second."""
    _heed_sigterm()
    if sys.argv[1:2] == ["health"]:
        from allocation_worker.bootstrap.health import probe  # noqa: PLC0415 - the other verbs need it not

        code = probe(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    try:
        from allocation_worker.cli import main as run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _heed_sigterm() -> None:
    """End on SIGTERM from now on: with 0 if the verb is one that SIGTERM ends, and as the first process of a container.

    The kernel withholds SIGTERM from such a process, unless it has a handler.
    """
    wanted = sys.argv[1:2] and sys.argv[1] in _UNTIL_SIGTERM and "--rebuild" not in sys.argv
    if wanted or os.getpid() == 1:
        code = 0 if wanted else _TERMINATED
        signal.signal(signal.SIGTERM, lambda *_: os._exit(code))


if __name__ == "__main__":
    main()
