"""The outside world: the wire, PostgreSQL and RabbitMQ, each behind a port."""
