from feast import FeatureService, Field, RequestSource
from feast.feature_view_projection import FeatureViewProjection
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, String

from features import drivers
from features.riders import rider_detours, rider_spend, rider_windows

quote = RequestSource(
    name="quote",
    schema=[Field(name="quoted_fare", dtype=Float64), Field(name="product", dtype=String)],
)


@on_demand_feature_view(
    name="fare_ratio",
    sources=[rider_spend, quote],
    schema=[Field(name="ratio", dtype=Float64)],
    mode="python",
)
def ratio(inputs):
    return {"ratio": [q / f for q, f in zip(inputs["quoted_fare"], inputs["fare"])]}


matching = FeatureService(
    name="matching",
    description="Who is sent to whom",
    owner="matching@example.com",
    features=[
        drivers.driver_quality[["rating", "profile", "trips"]],
        drivers.driver_quality.with_name("previous_driver").with_join_key_map({"driver_id": "previous_driver_id"})[
            ["rating"]
        ],
        rider_spend,
        ratio,
        rider_windows,
        "zone_demand:requests",
    ],
)

pricing = FeatureService(
    name="pricing",
    features=[
        drivers.driver_city,
        drivers.zone_demand.with_projection(
            FeatureViewProjection(
                name="zone_demand",
                name_alias="dropoff_zone",
                desired_features=[],
                features=[Field(name="requests", dtype=Float64)],
                join_key_map={"zone__id": "dropoff_zone_id"},
            )
        ),
        ratio[["ratio"]],
    ],
)

detours = FeatureService(name="detours", features=[rider_detours])

if __name__ == "__main__":
    from feast import FeatureStore

    FeatureStore(repo_path=".").apply([matching, pricing])
