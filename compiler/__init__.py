"""Compiler from DeepEP test and scenario TOMLs to Ansible playbooks."""

__version__ = "0.1.0"
