"""Helpers shared by tests, chaos, bench and demo, which are not shipped.

- `service`: a schema, a topology and the real processes on given servers.
- `processes`: one `allocation-worker` process with its log.
- `client`: an external program, which publishes commands and receives every event.
- `checker`: checks a run by its commands, events and tables, without any code of the worker.
- `crash_points`, `proxy`, `cluster`: kill a process between two steps, cut a connection, run a broker cluster.
- `pair`: a primary and a standby with synchronous replication, with failover, switchover and rejoin.
"""
