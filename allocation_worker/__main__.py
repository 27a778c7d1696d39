"""`python -m allocation_worker` is `allocation-worker`."""

import os
import signal
import sys

_INTERRUPTED = 130
_TERMINATED = 128 + signal.SIGTERM
_UNTIL_SIGTERM = ("consume", "relay", "project", "tail")


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly, also while it is still being imported, which takes a second."""
    try:
        _heed_sigterm()
        if sys.argv[1:2] == ["health"]:
            from allocation_worker.bootstrap.health import probe  # noqa: PLC0415 - the other verbs need it not

            code = probe(sys.argv[2:])
            if code is not None:
                sys.exit(code)
        from allocation_worker.cli import main as run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _heed_sigterm() -> None:
    """End on SIGTERM from now on: with 0 if the verb is one that SIGTERM ends, and as the first process of a container.

    The kernel withholds signals from such a process, unless it has a handler for them, or blocks them. So the image
    starts it with both blocked, and they are taken now.
    """
    wanted = sys.argv[1:2] and sys.argv[1] in _UNTIL_SIGTERM and "--rebuild" not in sys.argv
    if wanted or os.getpid() == 1:
        code = 0 if wanted else _TERMINATED
        signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
