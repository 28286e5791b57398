"""What Coldhouse costs as a database grows: manifests of up to a million parts, without their data.

The code is the real one, from the comparison with ``system.parts`` to the snapshot object; invented are the parts and
their files (deterministic), ClickHouse (:mod:`invented`), and the packs, whose sizes a store pretends to know.
"""
