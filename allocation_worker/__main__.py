"""`python -m allocation_worker` is `allocation-worker`."""

from allocation_worker.cli import main

if __name__ == "__main__":
    main()
