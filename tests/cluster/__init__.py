"""One machine becomes a cluster of real hosts: see README.md here."""
