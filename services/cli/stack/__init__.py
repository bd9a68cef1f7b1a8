"""The local stack: a real PostgreSQL, a real Apache Kafka and a real mail server, without Docker and without root.

``postgres`` and ``kafka`` stand on their own and are what the tests start; ``supervisor`` puts all parts together.
"""
