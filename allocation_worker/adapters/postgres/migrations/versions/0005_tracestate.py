"""The view `events` shows the tracestate of an event.

It stands behind the mark of a repetition in the line of the event, where older programs do not look for anything else.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
oldest_program = "0001"

# As in 0002, but for `repeated` and the last column.
EVENTS = r"""
CREATE OR REPLACE VIEW events AS
    SELECT page.id * 8192 + place - 1 AS id, page.partition,
        CAST(split_part(line, E'\t', 1) AS uuid) AS message_id, split_part(line, E'\t', 2) AS type,
        CAST(split_part(line, E'\t', 8) AS json) ->> 'sku' AS sku,
        CAST(CAST(split_part(line, E'\t', 8) AS json) ->> 'sequence' AS bigint) AS sequence,
        split_part(line, E'\t', 8) AS body,
        coalesce(nullif(split_part(line, E'\t', 4), ''), split_part(line, E'\t', 3)) AS correlation_id,
        split_part(line, E'\t', 3) AS causation_id,
        CASE WHEN split_part(line, E'\t', 5) <> '' THEN substr(split_part(line, E'\t', 5), 2) END AS traceparent,
        starts_with(split_part(line, E'\t', 6), 'r') AS repeated,
        coalesce(CAST('epoch' AS timestamptz)
            + CAST(nullif(split_part(line, E'\t', 7), '') AS bigint) * interval '1 microsecond',
            page.created_at) AS created_at,
        CASE WHEN unrouted.id IS NULL THEN page.published_at END AS published_at,
        unrouted.id IS NOT NULL AS unrouted,
        page.created_at AS page_created_at,
        substring(split_part(line, E'\t', 6) FROM '=(.*)') AS tracestate
    FROM outbox_pages AS page
        CROSS JOIN LATERAL string_to_table(page.events, E'\n') WITH ORDINALITY AS lines (line, place)
        LEFT JOIN outbox_unrouted AS unrouted ON unrouted.id = page.id * 8192 + place - 1
    UNION ALL
    SELECT id * 8192, CAST(0 AS smallint), message_id, type, sku, sequence, body, correlation_id, causation_id,
        traceparent, repeated, created_at, published_at, published_at IS NULL AND returned_at IS NOT NULL, created_at,
        CAST(NULL AS text)
    FROM outbox
"""


def upgrade() -> None:
    """Replace the view."""
    op.execute(EVENTS)
