//! What plan says of services that change, and of things that come and go.

use super::{BASE, told};

#[test]
fn things_come_and_go() {
    let more = "[[entity]]\nname = \"shop\"\njoin_keys = [{ name = \"shop\", type = \"string\" }, { name = \"country\", type = \"string\" }]\n\n[[source]]\nname = \"sales\"\ntable = \"sales\"\nevent_timestamp = \"at\"\n\n[[feature_view]]\nname = \"sold\"\nentity = \"shop\"\nsource = \"sales\"\nfeatures = [{ name = \"n\", type = \"int64\" }]\n\n[[derived]]\n";
    insta::assert_snapshot!(told(&[("[[derived]]\n", more)]), @r"
    new entity shop
      views: sold
    new source sales
      views: sold
    new view sold
      1 feature of entity shop, from source sales
      full run needed: until it is done, every feature is NOT_FOUND
    unused: view sold
    ");
    let gone = BASE.find("[[feature_view]]\nname = \"profile\"").unwrap()..BASE.find("[[derived]]").unwrap();
    insta::assert_snapshot!(told(&[(&BASE[gone], ""), ("{ feature = \"profile:age\", default = 40 }, ", "")]), @r"
    retired view profile
      `feature-server prune` removes its values, of about 1200 entities
      services: fraud
      model versions: fraud/1, fraud/2
    changed service fraud
      join profile: none (was profile by customer_id = customer_id)
      input profile__age dropped
      fraud/1, fraud/2 were made for the inputs as they were: the predictor refuses to load such a version, and where it is being served it goes on with the old definitions until the predictor is restarted; give the new inputs a service and a version of their own
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("name = \"profile\"", "name = \"person\""), ("profile:age", "person:age")]), @r"
    new view person
      2 features of entity customer, from source orders
      full run needed: until it is done, every feature is NOT_FOUND
      services: fraud
      model versions: fraud/1, fraud/2
    retired view profile
      `feature-server prune` removes its values, of about 1200 entities
      services: fraud
      model versions: fraud/1, fraud/2
    changed service fraud
      join person: person by customer_id = customer_id (was none)
      join profile: none (was profile by customer_id = customer_id)
      input person__age int64 added (default: 40)
      input profile__age dropped
      fraud/1, fraud/2 were made for the inputs as they were: the predictor refuses to load such a version, and where it is being served it goes on with the old definitions until the predictor is restarted; give the new inputs a service and a version of their own
      model versions: fraud/1, fraud/2
    ");
    let gone = BASE.find("[[feature_service]]").unwrap()..;
    insta::assert_snapshot!(told(&[(&BASE[gone], "")]), @r"
    retired service fraud
      fraud/1, fraud/2 were made for the inputs as they were: the predictor refuses to load such a version, and where it is being served it goes on with the old definitions until the predictor is restarted; give the new inputs a service and a version of their own
      model versions: fraud/1, fraud/2
    unused: view profile
    unused: view spending
    ");
}

#[test]
fn a_service_changes() {
    insta::assert_snapshot!(told(&[("default = 40", "default = 41"), ("amount / spending", "2.0 * amount / spending")]), @r"
    changed service fraud
      derived feature relative: float64 2.0 * amount / spending.amount_30d (was float64 amount / spending.amount_30d)
      input profile__age, default: 41 (was 40)
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("\"spending:amount_1d\", { feature = \"profile:age\", default = 40 }", "{ feature = \"profile:age\", default = 40 }, \"spending:amount_1d\"")]), @r"
    changed service fraud
      inputs reordered
      fraud/1 was made for one tensor with the inputs in the old order, and would be fed others in their places: give the new order a service and a version of their own
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("\"spending:amount_1d\", ", "\"spending:orders_30d\", ")]), @r"
    changed service fraud
      input spending__orders_30d int64 added
      input spending__amount_1d dropped
      fraud/1, fraud/2 were made for the inputs as they were: the predictor refuses to load such a version, and where it is being served it goes on with the old definitions until the predictor is restarted; give the new inputs a service and a version of their own
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("\"age\", type = \"int64\"", "\"age\", type = \"float64\"")]), @r"
    changed view profile
      feature age: float64 (was int64)
      full run needed, of about 1200 entities: until it is done, age is NOT_FOUND, and the others have the values they have, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    changed service fraud
      input profile__age: float64 (was int64)
      input profile__age, default: 40.0 (was 40)
      fraud/1, fraud/2 were made for the inputs as they were: the predictor refuses to load such a version, and where it is being served it goes on with the old definitions until the predictor is restarted; give the new inputs a service and a version of their own
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[
        ("request = [{ name = \"amount\", type = \"float64\" }]", "request = [{ name = \"amount\", type = \"float64\" }, { name = \"note\", type = \"string\" }]\njoins = [{ view = \"profile\", keys = { customer_id = \"buyer\" } }]")
    ]), @r"
    changed service fraud
      request feature note: string (was none)
      join profile: profile by customer_id = buyer (was profile by customer_id = customer_id)
      model versions: fraud/1, fraud/2
    ");
}
