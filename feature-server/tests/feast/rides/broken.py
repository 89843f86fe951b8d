from feast import Entity

half = Entity(name="half"
