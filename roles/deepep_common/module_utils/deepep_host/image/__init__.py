"""Getting an image onto every host of a session: once from its registry, then from host to host."""
