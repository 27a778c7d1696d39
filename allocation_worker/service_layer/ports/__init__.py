"""The ports: what the service needs of the outside world, each a protocol with its promise. Adapters keep them.

One module for each use case, with the values that go through its ports.
"""

from allocation_worker.service_layer.ports.consume import Delivered, Deliveries, Processor
from allocation_worker.service_layer.ports.dead_letters import ArchiveError, Letter, Letters
from allocation_worker.service_layer.ports.errors import (
    StoreContentionError,
    StoreError,
    StoreLockTimeoutError,
    StoreUnavailableError,
    StoreUnfitError,
)
from allocation_worker.service_layer.ports.explain import Answer, InboxEntry, Records, Rejection
from allocation_worker.service_layer.ports.prune import PrunedTable, PruneTimes, Step
from allocation_worker.service_layer.ports.read_model import (
    BatchView,
    CountedEvent,
    GenerationClosedError,
    GenerationMissingError,
    LineStatus,
    LineView,
    OpenWriteModel,
    ProjectedEvent,
    ReadModel,
    RejectionView,
    SkuView,
    WriteModel,
)
from allocation_worker.service_layer.ports.relay import EventPublisher, Pending
from allocation_worker.service_layer.ports.replay import KeptEvents, PublishedEvents
from allocation_worker.service_layer.ports.send import (
    BadRow,
    CommandFileError,
    CommandRows,
    GoodRow,
    PublishCommands,
    Survey,
)
from allocation_worker.service_layer.ports.unit_of_work import (
    Inbox,
    Outbox,
    Products,
    Receipt,
    UnitOfWork,
    UnitOfWorkFactory,
)

__all__ = [
    "Answer",
    "ArchiveError",
    "BadRow",
    "BatchView",
    "CommandFileError",
    "CommandRows",
    "CountedEvent",
    "Delivered",
    "Deliveries",
    "EventPublisher",
    "GenerationClosedError",
    "GenerationMissingError",
    "GoodRow",
    "Inbox",
    "InboxEntry",
    "KeptEvents",
    "Letter",
    "Letters",
    "LineStatus",
    "LineView",
    "OpenWriteModel",
    "Outbox",
    "Pending",
    "Processor",
    "Products",
    "ProjectedEvent",
    "PruneTimes",
    "PrunedTable",
    "PublishCommands",
    "PublishedEvents",
    "ReadModel",
    "Receipt",
    "Records",
    "Rejection",
    "RejectionView",
    "SkuView",
    "Step",
    "StoreContentionError",
    "StoreError",
    "StoreLockTimeoutError",
    "StoreUnavailableError",
    "StoreUnfitError",
    "Survey",
    "UnitOfWork",
    "UnitOfWorkFactory",
    "WriteModel",
]
