"""The errors of every store, and so of every port to one."""

from allocation_contracts import AllocationError


class StoreError(AllocationError):
    """The store refused a statement, and the transaction is lost. If it is of no class below, a message is at fault."""


class StoreContentionError(StoreError):
    """Another transaction interfered (deadlock, lock timeout, duplicate key): run this transaction again."""


class StoreLockTimeoutError(StoreContentionError):
    """Another transaction has locked a row for longer than this one may wait."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached. Whether a pending commit took place is unknown."""


class StoreUnfitError(StoreUnavailableError):
    """The store refuses a statement for a reason that no message can cause, such as a missing grant or table.

    Somebody must mend the store; the text says what.
    """
