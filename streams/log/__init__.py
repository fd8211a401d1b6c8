"""The log as the processes see it: its protocol, records and messages, dead letters, and an in-memory twin."""
