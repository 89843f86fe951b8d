from feast import Entity, ValueType

driver = Entity(
    name="driver",
    join_keys=["driver_id"],
    value_type=ValueType.INT64,
    description="Who drives",
    owner="supply@example.com",
    tags={"pii": "true"},
)
rider = Entity(name="rider", join_keys=["rider_uuid"], value_type=ValueType.UUID)
# Its type stands in the schema of a view.
city = Entity(name="city")
zone = Entity(name="zone", join_keys=["zone__id"])
# A key of this type has no counterpart.
cell = Entity(name="cell", join_keys=["cell_area"], value_type=ValueType.DOUBLE)
