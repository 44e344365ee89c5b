//! What holds for all receivers: payloads by reason, sizes, and names that are up to something.

use proptest::prelude::*;
use serde_json::Value;

use crate::domain::notification::{Fact, Reason};
use crate::notify::samples::{fact, with_envelope};
use crate::notify::{console, email, slack, webhook};

#[test]
fn dump() {
    for reason in Reason::ALL {
        with_envelope(&[fact(reason)], |e| {
            println!("{}", console::payload(&e));
        });
    }
    with_envelope(&crate::notify::samples::many(300), |e| {
        println!("{}", console::payload(&e));
        println!("{}", slack::payload(&e));
    });
    with_envelope(&[fact(Reason::First)], |e| {
        println!(
            "{}",
            serde_json::to_string_pretty(&slack::payload(&e)).unwrap()
        );
        println!(
            "{}",
            serde_json::to_string_pretty(&webhook::payload(&e, e.facts)).unwrap()
        );
        let from = "spendwatch@example.com".parse().unwrap();
        let to = "cfo@example.com".parse().unwrap();
        println!(
            "{}",
            String::from_utf8(email::payload(&e, &from, &to).unwrap()).unwrap()
        );
    });
}
