"""Which Coldhouse this is."""

VERSION = "0.1.0"
SOFTWARE = f"coldhouse {VERSION}"
