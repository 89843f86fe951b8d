from feast import Entity

old = Entity(name="old", join_keys=["old_id"])
