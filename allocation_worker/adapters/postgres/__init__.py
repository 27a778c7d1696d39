"""PostgreSQL: products, inbox and outbox in one transaction. SQLAlchemy and psycopg2 stay in here."""
