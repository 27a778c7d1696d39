"""What tests, chaos, bench and demo share and no user needs: processes, crash points, faults of the network, a checker.

- `service`: a schema, a topology and the real processes on given servers.
- `processes`: one `allocation-worker` process, its log and its end.
- `client`: a program of another team, which publishes commands and receives every event.
- `checker`: judges a run by its commands, its events and its tables, without any code of the worker.
- `crash_points`, `proxy`, `cluster`: kill a process between two steps, cut a connection, run a broker cluster.
"""
