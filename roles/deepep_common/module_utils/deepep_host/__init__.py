"""What runs on hosts, and what judges their results: standard library only, Python 3.8, no Ansible."""
