"""The conditions that weaken the guarantees. Each is one statement that returns a row for each case it finds.

The catalog is readable for every role. Only the state of standbys needs a privilege.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from allocation_worker.adapters.postgres.indexes import INDEXES
from allocation_worker.adapters.postgres.schema import REVISION, VERSION_TABLE

KEYS: Final[Mapping[str, Sequence[str]]] = {
    "products": ("sku",),
    "batches": ("reference", "arrival, sku"),
    "order_lines": ("id",),
    "inbox_entries": ("key",),
    "outbox_pages": ("id",),
    "outbox_unrouted": ("id",),
    "restorations": ("number",),
    "pruned_batches": ("reference",),
}
"""Our tables, and the columns of their unique keys. The columns of a key are sorted."""

_NAMES = ", ".join(f"'{name}'" for name in KEYS)
_INDEXES = ", ".join(f"'{index.name}'" for index in INDEXES)
_KEYS = ", ".join(f"('{name}', '{columns}')" for name, keys in KEYS.items() for columns in keys)

# An unqualified name means the first table of that name in the search path. Temporary tables come first.
_OURS = f"(SELECT name, pg_class.* FROM unnest(ARRAY[{_NAMES}]) AS name JOIN pg_class ON oid = to_regclass(name))"

STANDBYS: Final = """
    SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_standbys,
        current_setting('synchronous_standby_names') AS names,
        current_setting('synchronous_standby_names') <> '' AS are_named,
        coalesce(CAST(substring(current_setting('synchronous_standby_names') FROM '(\\d+)\\s*[(]') AS integer), 1)
            AS needed,
        (SELECT count(*) FROM pg_stat_replication) AS connected,
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming')
            AS synchronous,
        (SELECT string_agg(application_name, ', ' ORDER BY application_name) FROM pg_stat_replication
            WHERE sync_state = 'async' AND state = 'streaming') AS asynchronous
"""
"""What is known of standbys, in one row."""


class Condition(NamedTuple):
    """A statement, and the sentence for each row that it returns.

    Attributes:
        kind: The slug of `Weakness`.
        sentence: Is formatted with the columns of the row.
        sql: The statement.
        is_fault: As in `Weakness`.
        since: The first version of PostgreSQL that understands the statement, as in `server_version_num`.
    """

    kind: str
    sentence: str
    sql: str
    is_fault: bool = True
    since: int = 0


MISSING_TABLES: Final = Condition(
    "missing-table",
    "There is no table {name} in the search path: nothing can be decided or published; restore it from a backup, or "
    "look at the search_path of this role.",
    f"SELECT name FROM unnest(ARRAY[{_NAMES}]) AS name WHERE to_regclass(name) IS NULL",
)

NO_ORDINARY_TABLES: Final = Condition(
    "no-ordinary-table",
    "{name} is a {what} and no ordinary table: its rows, locks and keys may be kept elsewhere or not at all; rename "
    "it, and put the table of `allocation-worker migrate` in its place.",
    f"""
    SELECT name, CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
        WHEN 'p' THEN 'partitioned table' ELSE 'relation of kind ' || CAST(relkind AS text) END AS what
    FROM {_OURS} AS ours WHERE relkind <> 'r'
    """,
)

SERVER: Final = (
    Condition(
        "fsync-off",
        "fsync is off: a crash of the machine loses or damages confirmed commands; set fsync = on.",
        "SELECT WHERE current_setting('fsync') = 'off'",
    ),
    Condition(
        "full-page-writes-off",
        "full_page_writes is off: a crash of the machine in the middle of a write damages tables, and confirmed "
        "commands with them; set full_page_writes = on.",
        "SELECT WHERE current_setting('full_page_writes') = 'off'",
    ),
    Condition(
        "damage-ignored",
        "{name} is on: damaged pages are read as if they held no rows, so that a repeated command can take effect "
        "twice; set {name} = off.",
        """
        SELECT name FROM unnest(ARRAY['zero_damaged_pages', 'ignore_checksum_failure']) AS name
        WHERE current_setting(name) = 'on'
        """,
    ),
    Condition(
        "synchronous-standby-away",
        "synchronous_standby_names is '{names}' and needs {needed}, and {synchronous} such standbys are streaming: "
        "every COMMIT waits; start the standby, or wait until it has caught up, and do not fail over to it before.",
        f"""
        SELECT * FROM ({STANDBYS}) AS standbys
        WHERE sees_standbys AND are_named AND synchronous < needed AND NOT pg_is_in_recovery()
        """,
    ),
    Condition(
        "asynchronous-standby",
        "Commits wait for no standby, and {asynchronous} follows asynchronously: a failover to it loses the last "
        "confirmed commands; name it in synchronous_standby_names.",
        f"""
        SELECT * FROM ({STANDBYS}) AS standbys WHERE sees_standbys AND NOT are_named AND asynchronous IS NOT NULL
        """,
        is_fault=False,
    ),
    Condition(
        "standbys-not-visible",
        "The role {role} may not see the state of standbys, so it is not known whether a failover keeps confirmed "
        "commands; GRANT pg_monitor TO {role}.",
        f"""
        SELECT quote_ident(current_user) AS role FROM ({STANDBYS}) AS standbys
        WHERE NOT sees_standbys AND (are_named OR connected > 0)
        """,
        is_fault=False,
    ),
    Condition(
        "wal-level-minimal",
        "wal_level is minimal: neither a standby nor an archive is possible, so confirmed commands are on the disk of "
        "this server only; set wal_level = replica.",
        "SELECT WHERE current_setting('wal_level') = 'minimal'",
        is_fault=False,
    ),
    Condition(
        "data-checksums-off",
        "Data checksums are off: a page that the disk has damaged is not noticed; run pg_checksums --enable while the "
        "server is stopped.",
        "SELECT WHERE current_setting('data_checksums') = 'off'",
        is_fault=False,
    ),
    Condition(
        "standby",
        "This server is a standby: it cannot decide or publish, and it may be behind its primary; use the address of "
        "the primary, or several hosts.",
        "SELECT WHERE pg_is_in_recovery()",
        is_fault=False,
    ),
    Condition(
        "read-only",
        "default_transaction_read_only is on: nothing can be decided or published; set it to off on the server that "
        "is the primary.",
        "SELECT WHERE current_setting('default_transaction_read_only') = 'on' AND NOT pg_is_in_recovery()",
    ),
)

TABLES: Final = (
    NO_ORDINARY_TABLES,
    Condition(
        "unlogged-table",
        "The table {name} is unlogged: a crash of the server empties it, and a standby does not have its rows; run "
        "ALTER TABLE {name} SET LOGGED.",
        f"SELECT name FROM {_OURS} AS ours WHERE relpersistence = 'u'",
    ),
    Condition(
        "temporary-table",
        "A temporary table {name} stands before ours in this session: its rows are gone when the session ends; drop "
        "it, and let no other program share the worker's sessions.",
        f"SELECT name FROM {_OURS} AS ours WHERE relpersistence = 't'",
    ),
    Condition(
        "other-schema",
        "The search path finds the table {name} in the schema {here}, and the table inbox_entries in {there}: rows "
        "that belong together may be elsewhere; set search_path to the schema of `allocation-worker migrate`.",
        f"""
        SELECT ours.name, CAST(ours.relnamespace AS regnamespace) AS here,
            CAST(inbox.relnamespace AS regnamespace) AS there
        FROM {_OURS} AS ours JOIN {_OURS} AS inbox ON inbox.name = 'inbox_entries'
        WHERE ours.relnamespace <> inbox.relnamespace AND 't' NOT IN (ours.relpersistence, inbox.relpersistence)
        """,
    ),
    Condition(
        "hidden-table",
        "The search path has another table {name}, in the schema {hidden}, behind that of the schema {used}: an older "
        "copy, or one of another program; drop it, or take its schema out of search_path.",
        f"""
        SELECT name, CAST(ours.relnamespace AS regnamespace) AS used, CAST(other.relnamespace AS regnamespace) AS hidden
        FROM {_OURS} AS ours JOIN pg_class AS other ON other.relname = name AND other.oid <> ours.oid
            AND other.relkind IN ('r', 'v', 'm', 'f', 'p')
        JOIN pg_namespace ON pg_namespace.oid = other.relnamespace AND nspname = ANY(current_schemas(true))
        """,
        is_fault=False,
    ),
    Condition(
        "inherited-table",
        "The table {parent} has the child {child}: no unique key spans both, so a repeat may not be recognised; run "
        "ALTER TABLE {child} NO INHERIT {parent}.",
        f"""
        SELECT CAST(inhparent AS regclass) AS parent, CAST(inhrelid AS regclass) AS child
        FROM {_OURS} AS ours JOIN pg_inherits ON oid IN (inhparent, inhrelid) WHERE relkind <> 'p'
        """,
    ),
    Condition(
        "access-method",
        "The table {name} uses the access method {amname} and not heap: the guarantees rest on how heap locks rows; "
        "move the rows into a table of heap.",
        f"SELECT name, amname FROM {_OURS} AS ours JOIN pg_am ON pg_am.oid = relam WHERE amname <> 'heap'",
    ),
    Condition(
        "row-security",
        "Row security is in force on the table {name} for the role {role}: the worker's statements on it fail, since "
        "hidden rows would be decided again; run ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY, or ALTER ROLE {role} "
        "BYPASSRLS.",
        f"""
        SELECT name, quote_ident(current_user) AS role FROM {_OURS} AS ours WHERE row_security_active(oid)
        """,
    ),
    Condition(
        "before-trigger",
        "The trigger {tgname} on the table {name} is not ours and runs before a row is written: it may change the row "
        "or leave it out; drop it.",
        f"""
        SELECT name, tgname FROM {_OURS} AS ours JOIN pg_trigger ON tgrelid = ours.oid
        WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 2 <> 0
        """,
    ),
    Condition(
        "after-trigger",
        "The trigger {tgname} on the table {name} is not ours: it runs in our transactions, and where it fails, the "
        "command fails; see that it writes to none of our tables.",
        f"""
        SELECT name, tgname FROM {_OURS} AS ours JOIN pg_trigger ON tgrelid = ours.oid
        WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 2 = 0
        """,
        is_fault=False,
    ),
    Condition(
        "rewrite-rule",
        "The rule {rulename} on the table {name} is not ours and rewrites our statements: a write may go elsewhere or "
        "nowhere; drop it.",
        f"""
        SELECT name, rulename FROM {_OURS} AS ours JOIN pg_rewrite ON ev_class = ours.oid
        WHERE relkind = 'r' AND ev_enabled <> 'D'
        """,
    ),
    Condition(
        "replicated-into",
        "A subscription writes to the table {name}, beside the worker: it may undo what was decided; drop the "
        "subscription, or refresh it without this table.",
        f"SELECT name FROM {_OURS} AS ours JOIN pg_subscription_rel ON srrelid = ours.oid",
    ),
    Condition(
        "missing-key",
        "The table {name} has no valid unique index on ({columns}): the same row can be written twice, or no row at "
        "all; put the key of `allocation-worker migrate` back.",
        f"""
        SELECT required.name, columns FROM (VALUES {_KEYS}) AS required (name, columns)
        JOIN {_OURS} AS ours ON ours.name = required.name
        WHERE relkind = 'r' AND NOT EXISTS (
            SELECT FROM pg_index
            WHERE indrelid = ours.oid AND indisunique AND indisvalid AND indisready AND indimmediate
                AND indpred IS NULL AND indexprs IS NULL AND columns = (
                    SELECT string_agg(attname, ', ' ORDER BY attname) FROM pg_attribute
                    WHERE attrelid = indrelid AND attnum = ANY((CAST(indkey AS smallint[]))[0 \\:indnkeyatts - 1])
                )
        )
        """,
    ),
    Condition(
        "missing-check",
        "The table batches has no constraint never_oversold: nothing would stop a batch from being oversold by another "
        "program's write; put the constraint of `allocation-worker migrate` back.",
        f"""
        SELECT FROM {_OURS} AS ours WHERE name = 'batches' AND relkind = 'r' AND NOT EXISTS (
            SELECT FROM pg_constraint WHERE conrelid = ours.oid AND contype = 'c' AND conname = 'never_oversold'
        )
        """,
    ),
    Condition(
        "invalid-index",
        "The index {index} of the table {name} is not valid: it does not find all rows; if no CREATE INDEX or REINDEX "
        "is running, run REINDEX INDEX {index}, or drop it.",
        f"""
        SELECT name, CAST(indexrelid AS regclass) AS index FROM {_OURS} AS ours JOIN pg_index ON indrelid = ours.oid
        WHERE NOT (indisvalid AND indisready)
        """,
    ),
    Condition(
        "missing-index",
        "The table order_lines has no index {index}: each command that looks for such lines reads all of them, and "
        "keeps its products locked meanwhile; if `allocation-worker migrate` is not running, run it again.",
        f"""
        SELECT index FROM {_OURS} AS ours, unnest(ARRAY[{_INDEXES}]) AS index, {VERSION_TABLE}
        WHERE version_num = '{REVISION}' AND name = 'order_lines' AND NOT EXISTS (
            SELECT FROM pg_index JOIN pg_class AS found ON found.oid = indexrelid
            WHERE indrelid = ours.oid AND relname = index
        )
        """,
    ),
    Condition(
        "collation-changed",
        "The index {index} was built with version {built} of its collation, and the system has {now}: rows may not be "
        "found; run REINDEX DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION.",
        f"""
        SELECT DISTINCT CAST(indexrelid AS regclass) AS index, datcollversion AS built,
            pg_database_collation_actual_version(pg_database.oid) AS now
        FROM {_OURS} AS ours JOIN pg_index ON indrelid = ours.oid
        JOIN pg_collation ON pg_collation.oid = ANY(CAST(indcollation AS oid[])) AND collname = 'default'
        JOIN pg_database ON datname = current_database()
        WHERE datcollversion <> pg_database_collation_actual_version(pg_database.oid)
        """,
        since=150000,
    ),
    Condition(
        "sequence-behind",
        "The sequence of outbox_pages.id is at {counted}, and the table has {highest}: this server was promoted or "
        "restored without all rows, or copied without its sequences; stop the worker, compare it with the other "
        "servers, then set the sequence by setval.",
        f"""
        SELECT coalesce(last_value, 0) AS counted, highest
        FROM {_OURS} AS ours
        JOIN pg_depend ON refobjid = ours.oid AND deptype = 'i'
        JOIN pg_class AS counter ON counter.oid = objid AND counter.relkind = 'S'
        JOIN pg_sequences ON sequencename = counter.relname
            AND schemaname = CAST(CAST(counter.relnamespace AS regnamespace) AS text)
        CROSS JOIN (SELECT max(id) AS highest FROM outbox_pages) AS rows
        WHERE name = 'outbox_pages' AND coalesce(last_value, 0) < highest
            AND CASE WHEN counter.relkind = 'S' THEN has_sequence_privilege(counter.oid, 'SELECT, USAGE') END
        """,
    ),
)
