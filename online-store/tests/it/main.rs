//! The online store on a real Redis.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod floor; // what a complete run did not find keeps nothing out
mod guard; // who may overwrite whom
mod layouts; // old and new definitions side by side on old and new values
mod markers; // markers never move back
mod outages; // slow, away, back again, without its scripts
mod racing; // many writers, one truth, whatever the server's locale
mod reading; // rows, statuses, damage
mod removing; // what is removed for good, and what is not touched
mod sampling; // entities that have something stored
mod support;
mod verifying; // all that is stored, with the markers that judge it
