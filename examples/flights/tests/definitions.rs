//! The demo's definitions are valid, and an instance names exactly what its service asks for.

use std::collections::BTreeSet;
use std::path::Path;

use feature_defs::definitions::{Definitions, load};
use feature_defs::time::Timestamp;
use flights::Flight;

fn definitions() -> Definitions {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("features")).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn an_instance_names_what_the_service_asks_for() {
    let definitions = definitions();
    let service = definitions.service("flight_delay").unwrap();
    let keys = service.keys.iter().map(|key| key.name.as_str());
    let request = service.request.iter().map(|field| field.name.as_str());
    let asked: BTreeSet<_> = keys.chain(request).collect();

    let flight = Flight {
        id: 1,
        carrier: "UA".to_owned(),
        number: 1,
        tailnum: None,
        origin: "EWR".to_owned(),
        dest: "IAH".to_owned(),
        distance: 1400.0,
        scheduled_minute: 315,
        weekday: 2,
        scheduled_departure: Timestamp::from_micros(0),
        scheduled_arrival: Timestamp::from_micros(0),
        departure_delay: None,
        arrival_delay: None,
        air_time: None,
    };
    let instance = flight.instance();
    assert_eq!(instance.keys().map(String::as_str).collect::<BTreeSet<_>>(), asked);
}

#[test]
fn the_fallback_asks_for_nothing_stored_and_nothing_more() {
    let definitions = definitions();
    let (full, fallback) = (
        definitions.service("flight_delay").unwrap(),
        definitions.service("flight_delay_request_only").unwrap(),
    );
    assert!(fallback.joins.is_empty() && fallback.keys.is_empty());
    assert!(fallback.request.iter().all(|field| full.request.contains(field)));
    assert!(fallback.inputs.iter().all(|input| full.inputs.contains(input)));
}

#[test]
fn every_input_fits_a_float_tensor() {
    for service in definitions().services {
        for input in &service.inputs {
            assert!(input.value_type.is_number(), "{}: {:?}", input.name, input.value_type);
        }
    }
}
