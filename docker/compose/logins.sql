-- The database, its owner and the logins, before `migrate`. It runs at each start, as the superuser, with the passwords
-- of /run/secrets. roles.sql gives the roles their rights once there are tables.

SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY[
    'shop_owner', 'allocation_consume', 'allocation_relay', 'allocation_project', 'allocation_reader',
    'shop_consume', 'shop_relay', 'shop_project', 'shop_reader'
]) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

\set owner `cat /run/secrets/owner`
\set consume `cat /run/secrets/consume`
\set relay `cat /run/secrets/relay`
\set project `cat /run/secrets/project`
\set reader `cat /run/secrets/reader`
ALTER ROLE shop_owner LOGIN PASSWORD :'owner';
ALTER ROLE shop_consume LOGIN PASSWORD :'consume';
ALTER ROLE shop_relay LOGIN PASSWORD :'relay';
ALTER ROLE shop_project LOGIN PASSWORD :'project';
ALTER ROLE shop_reader LOGIN PASSWORD :'reader';

GRANT allocation_consume TO shop_consume;
GRANT allocation_relay TO shop_relay;
GRANT allocation_project TO shop_project;
GRANT allocation_reader, pg_monitor TO shop_reader;

SELECT 'CREATE DATABASE allocation OWNER shop_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'allocation') \gexec
