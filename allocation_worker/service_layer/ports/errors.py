"""The errors of every store, and so of every port to one."""

from allocation_contracts import AllocationError


class StoreError(AllocationError):
    """The store refused a statement, and the transaction is lost."""


class StoreContentionError(StoreError):
    """Another transaction interfered (deadlock, lock timeout, duplicate key): run this transaction again."""


class StoreLockTimeoutError(StoreContentionError):
    """Another transaction has locked a row for longer than this one may wait."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached. Whether a pending commit took place is unknown."""


class StoreForbiddenError(StoreUnavailableError):
    """The store does not permit a statement to this user. Somebody must grant it."""
