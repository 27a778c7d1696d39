-- What each program may do in the database, as roles that cannot log in. Run this as the owner of the tables, after
-- `allocation-worker migrate`, and again after each upgrade. Then give each program a login of its own:
--   CREATE ROLE shop_consume LOGIN PASSWORD '...' IN ROLE allocation_consume;
-- `migrate` and `restored` log in as the owner of the tables.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['allocation_consume', 'allocation_relay', 'allocation_project', 'allocation_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
END $$;

-- When it starts, each program looks at the revision of the tables, and whether the sequence of pages is behind them.
GRANT SELECT ON schema_revision, restorations
    TO allocation_consume, allocation_relay, allocation_project, allocation_reader;
GRANT SELECT ON SEQUENCE outbox_pages_id_seq
    TO allocation_consume, allocation_relay, allocation_project, allocation_reader;
GRANT SELECT (id) ON outbox_pages TO allocation_consume;

-- What is left of batches that were pruned: `consume` creates none a second time, and `verify` counts them.
GRANT SELECT ON pruned_batches TO allocation_consume, allocation_reader;

-- consume
GRANT SELECT, INSERT, UPDATE ON products, batches, order_lines TO allocation_consume;
GRANT SELECT, INSERT, UPDATE, DELETE ON inbox_entries TO allocation_consume;
GRANT INSERT ON outbox_pages TO allocation_consume;

-- relay, which also ends holds and prunes. It locks the rows that it deletes, and that needs UPDATE.
GRANT SELECT, UPDATE ON products, batches, order_lines TO allocation_relay;
GRANT INSERT ON outbox_pages TO allocation_relay;
GRANT SELECT, UPDATE, DELETE ON outbox_pages, inbox_entries TO allocation_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_unrouted TO allocation_relay;
GRANT SELECT, INSERT, UPDATE ON prune_clock TO allocation_relay;

-- project
GRANT SELECT ON products, batches, order_lines, outbox_pages, outbox_unrouted, events TO allocation_project;

-- verify, explain, replay, status and show. To see the sessions of other roles and the state of standbys, a login needs
-- pg_monitor, too.
GRANT SELECT ON products, batches, order_lines, inbox_entries, outbox_pages, outbox_unrouted, events, prune_clock
    TO allocation_reader;

-- Only if ALLOCATION_LINES_DAYS is set: relay deletes lines and batches, under the locks of their products.
-- GRANT DELETE ON batches, order_lines TO allocation_relay;
-- GRANT INSERT ON pruned_batches TO allocation_relay;
