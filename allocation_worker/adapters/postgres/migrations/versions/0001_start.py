"""Products, batches, order lines, inbox and outbox.

Keys have collation "C": they are compared as bytes, in the order in which Python sorts text.
"""

from alembic import op

revision = "0001"
down_revision = None

PRODUCTS = """
CREATE TABLE products (
    sku             text COLLATE "C" PRIMARY KEY,
    stream          uuid    NOT NULL,  -- an event's message_id is uuid5(stream, sequence)
    sequence        bigint  NOT NULL CHECK (sequence >= 0),
    batches_arrived integer NOT NULL CHECK (batches_arrived >= 0)
) WITH (fillfactor = 70)
"""

BATCHES = """
CREATE TABLE batches (
    reference   text COLLATE "C" PRIMARY KEY,
    sku         text COLLATE "C" NOT NULL REFERENCES products,
    purchased   integer NOT NULL,
    allocated   integer NOT NULL,
    eta         date,
    arrival     integer NOT NULL,
    created_qty integer NOT NULL,
    sequence    bigint  NOT NULL,
    -- A column of its own: an index on the bare condition would keep updates of the counter from being HOT.
    in_stock    boolean NOT NULL GENERATED ALWAYS AS (allocated < purchased) STORED,
    CONSTRAINT never_oversold CHECK (allocated BETWEEN 0 AND purchased),
    UNIQUE (sku, arrival)
) WITH (fillfactor = 70)
"""

BATCHES_IN_STOCK = "CREATE INDEX batches_in_stock ON batches (sku) WHERE in_stock"

# The id stands for (orderid, sku, lineid): three texts of 255 characters do not fit an index entry of 2,704 bytes.
ORDER_LINES = """
CREATE TABLE order_lines (
    id        uuid PRIMARY KEY,
    orderid   text COLLATE "C" NOT NULL,
    sku       text COLLATE "C" NOT NULL,
    lineid    text COLLATE "C" NOT NULL,
    qty       integer NOT NULL CHECK (qty >= 0),
    batchref  text COLLATE "C",
    cancelled boolean NOT NULL,
    sequence  bigint  NOT NULL,
    CONSTRAINT cancelled_holds_nothing CHECK (batchref IS NULL OR NOT cancelled)
)
"""

LINES_OF_BATCH = "CREATE INDEX lines_of_batch ON order_lines (batchref, sequence) WHERE batchref IS NOT NULL"

INBOX = """
CREATE TABLE inbox (
    message_id  text COLLATE "C" PRIMARY KEY,
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32),
    received_at timestamptz NOT NULL DEFAULT now(),
    deliveries  integer     NOT NULL DEFAULT 1
) WITH (fillfactor = 90)
"""

INBOX_BY_AGE = "CREATE INDEX inbox_by_age ON inbox USING brin (received_at)"

OUTBOX = """
CREATE TABLE outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id     uuid NOT NULL,
    type           text NOT NULL,
    sku            text COLLATE "C",
    sequence       bigint,
    body           text NOT NULL,
    correlation_id text NOT NULL,
    causation_id   text NOT NULL,
    traceparent    text,
    repeated       boolean NOT NULL DEFAULT false,  -- announced again: its sequence is older than its id
    created_at     timestamptz NOT NULL DEFAULT now(),
    published_at   timestamptz,
    returned_at    timestamptz  -- no queue wanted it then; it is offered again
)
"""

OUTBOX_PENDING = "CREATE INDEX outbox_pending ON outbox (id) WHERE published_at IS NULL AND returned_at IS NULL"
OUTBOX_RETURNED = (
    "CREATE INDEX outbox_returned ON outbox (type, id) WHERE published_at IS NULL AND returned_at IS NOT NULL"
)
OUTBOX_BY_AGE = "CREATE INDEX outbox_by_age ON outbox USING brin (created_at)"


def upgrade() -> None:
    for statement in (
        PRODUCTS,
        BATCHES,
        BATCHES_IN_STOCK,
        ORDER_LINES,
        LINES_OF_BATCH,
        INBOX,
        INBOX_BY_AGE,
        OUTBOX,
        OUTBOX_PENDING,
        OUTBOX_RETURNED,
        OUTBOX_BY_AGE,
    ):
        op.execute(statement)
