"""The broker: topology, consuming, publishing. What pika is, and raises, stays in here."""
