"""R3. Durable state: append-only events, state rows, an outbox, versioned codecs, migrations.

Every input is one database transaction together with its outbox; effects are performed only after
the commit. SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL.
"""
