"""The outbox in pages, an inbox with short keys, and the clock of pruning, beside the tables of 0001.

Programs of revision 0001 go on working. What they write to `outbox` and `inbox` arrives in the new tables by triggers,
so old and new programs share one order of events and one memory of messages. `migrate` then moves what stands in the
old tables; see `moves`.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
oldest_program = "0001"

# Revision 0001 compares this table with its own number. It stays at 0001 as long as such programs may run.
ALEMBIC_VERSION = """
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY
)
"""
AS_BEFORE = "INSERT INTO alembic_version SELECT '0001' WHERE NOT EXISTS (SELECT FROM alembic_version)"

# The order in which a worker locks them.
NO_WRITES_MEANWHILE = "LOCK TABLE inbox, outbox IN SHARE ROW EXCLUSIVE MODE"

# A line for each event, as `page.py` writes it: at most 1,000 of them, so 8,192 is room enough for the number of a
# place. `created_at` is the start of the transaction; that of a moved page is its first event's. `product` is given
# from the second page of a transaction on: the SKU of all events of the page, if it is one. Other products may pass it.
PAGES = """
CREATE TABLE outbox_pages (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    count        integer     NOT NULL CHECK (count BETWEEN 1 AND 8192),
    partition    smallint    NOT NULL DEFAULT 0,
    events       text        NOT NULL,
    product      text COLLATE "C"
)
"""

# Moved pages have the id of their first row, so that new ones come after them.
AFTER_THE_ROWS = """
SELECT setval(pg_get_serial_sequence('outbox_pages', 'id'), last_value, is_called) FROM outbox_id_seq
"""

# Half of the time of the default, and the same size.
LZ4 = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
        ALTER TABLE outbox_pages ALTER COLUMN events SET COMPRESSION lz4;
    END IF;
END $$
"""

PENDING = "CREATE INDEX outbox_pages_pending ON outbox_pages (partition, id) WHERE published_at IS NULL"
PENDING_PRODUCTS = """
CREATE INDEX outbox_pages_pending_products ON outbox_pages (partition, id)
    WHERE published_at IS NULL AND product IS NOT NULL
"""
PAGES_BY_AGE = "CREATE INDEX outbox_pages_by_age ON outbox_pages USING brin (created_at)"

# Events of published pages that no queue is bound for. The id is that of the view `events`.
UNROUTED = """
CREATE TABLE outbox_unrouted (
    id         bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    partition  smallint    NOT NULL DEFAULT 0,
    type       text        NOT NULL,
    event      text        NOT NULL
)
"""
UNROUTED_BY_TYPE = "CREATE INDEX outbox_unrouted_by_type ON outbox_unrouted (partition, type, id)"

# The key stands for a message_id of up to 255 characters, which would be stored in the table and in its index.
INBOX = """
CREATE TABLE inbox_entries (
    key         uuid PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    deliveries  integer     NOT NULL DEFAULT 1,
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32)
)
"""

# The time that pruning has reached: one row. It begins with the time of the migration, so a first relay prunes at once.
PRUNE_CLOCK = "CREATE TABLE prune_clock (reached timestamptz NOT NULL)"
STARTED = "INSERT INTO prune_clock SELECT now()"

INBOX_KEY = """
CREATE FUNCTION inbox_key(message_id text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT CAST(encode(substring(sha256(convert_to(message_id, 'UTF8')) FROM 1 FOR 16), 'hex') AS uuid)
$$
"""

OUTBOX_LINE = r"""
CREATE FUNCTION outbox_line(event outbox) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(E'\t', encode(uuid_send(event.message_id), 'hex'), event.type, event.causation_id,
        CASE WHEN event.correlation_id = event.causation_id THEN '' ELSE event.correlation_id END,
        coalesce('=' || event.traceparent, ''), CASE WHEN event.repeated THEN 'r' ELSE '' END,
        CAST(extract(epoch FROM event.created_at) * 1000000 AS bigint), event.body)
$$
"""

EVENTS = r"""
CREATE VIEW events AS
    SELECT page.id * 8192 + place - 1 AS id, page.partition,
        CAST(split_part(line, E'\t', 1) AS uuid) AS message_id, split_part(line, E'\t', 2) AS type,
        CAST(split_part(line, E'\t', 8) AS json) ->> 'sku' AS sku,
        CAST(CAST(split_part(line, E'\t', 8) AS json) ->> 'sequence' AS bigint) AS sequence,
        split_part(line, E'\t', 8) AS body,
        coalesce(nullif(split_part(line, E'\t', 4), ''), split_part(line, E'\t', 3)) AS correlation_id,
        split_part(line, E'\t', 3) AS causation_id,
        CASE WHEN split_part(line, E'\t', 5) <> '' THEN substr(split_part(line, E'\t', 5), 2) END AS traceparent,
        split_part(line, E'\t', 6) = 'r' AS repeated,
        coalesce(CAST('epoch' AS timestamptz)
            + CAST(nullif(split_part(line, E'\t', 7), '') AS bigint) * interval '1 microsecond',
            page.created_at) AS created_at,
        CASE WHEN unrouted.id IS NULL THEN page.published_at END AS published_at,
        unrouted.id IS NOT NULL AS unrouted,
        page.created_at AS page_created_at
    FROM outbox_pages AS page
        CROSS JOIN LATERAL string_to_table(page.events, E'\n') WITH ORDINALITY AS lines (line, place)
        LEFT JOIN outbox_unrouted AS unrouted ON unrouted.id = page.id * 8192 + place - 1
    UNION ALL
    SELECT id * 8192, CAST(0 AS smallint), message_id, type, sku, sequence, body, correlation_id, causation_id,
        traceparent, repeated, created_at, published_at, published_at IS NULL AND returned_at IS NOT NULL, created_at
    FROM outbox
"""

# The channel is that of `outbox.py`.
ROW_TO_PAGE = """
CREATE FUNCTION outbox_row_to_page() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO outbox_pages (count, events) VALUES (1, outbox_line(NEW));
    PERFORM pg_notify('allocation_outbox_' || CAST(CAST('outbox_pages' AS regclass) AS oid), '');
    RETURN NULL;
END $$
"""
ROWS_TO_PAGES = """
CREATE TRIGGER rows_to_pages BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION outbox_row_to_page()
"""

# A message that a new program has received is a repeat for an old one, with the fingerprint that came first.
ROW_TO_ENTRY = """
CREATE FUNCTION inbox_row_to_entry() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO inbox_entries AS known (key, fingerprint) VALUES (inbox_key(NEW.message_id), NEW.fingerprint)
    ON CONFLICT (key) DO UPDATE SET deliveries = known.deliveries + 1
    RETURNING deliveries, fingerprint INTO NEW.deliveries, NEW.fingerprint;
    RETURN NEW;
END $$
"""
ROWS_TO_ENTRIES = """
CREATE TRIGGER rows_to_entries BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION inbox_row_to_entry()
"""
FORGET_ENTRY = """
CREATE FUNCTION inbox_forget_entry() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM inbox_entries WHERE key = inbox_key(OLD.message_id);
    RETURN NULL;
END $$
"""
# `migrate` deletes rows that it has moved, and the entries stay.
ENTRIES_FORGOTTEN = """
CREATE TRIGGER entries_forgotten AFTER DELETE ON inbox FOR EACH ROW
WHEN (current_setting('allocation.moving', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION inbox_forget_entry()
"""


def upgrade() -> None:
    for statement in (
        ALEMBIC_VERSION,
        AS_BEFORE,
        NO_WRITES_MEANWHILE,
        PAGES,
        AFTER_THE_ROWS,
        LZ4,
        PENDING,
        PENDING_PRODUCTS,
        PAGES_BY_AGE,
        UNROUTED,
        UNROUTED_BY_TYPE,
        INBOX,
        PRUNE_CLOCK,
        STARTED,
        INBOX_KEY,
        OUTBOX_LINE,
        EVENTS,
        ROW_TO_PAGE,
        ROWS_TO_PAGES,
        ROW_TO_ENTRY,
        ROWS_TO_ENTRIES,
        FORGET_ENTRY,
        ENTRIES_FORGOTTEN,
    ):
        op.execute(statement)
