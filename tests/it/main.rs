//! Tests of the program from outside and of the repository's own rules. One binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is test code, also outside of functions marked as tests"
)]

mod architecture;
mod repository;

#[path = "../fakes/alertmanager_rules.rs"]
mod alertmanager_rules;
mod harness;
mod outbox_fixture;
mod program;
#[path = "../fakes/receiver.rs"]
mod receiver;
#[path = "../fakes/slack_rules.rs"]
mod slack_rules;
#[path = "../fakes/slack_api.rs"]
mod slack_server;
#[path = "../fakes/smtp.rs"]
#[expect(
    dead_code,
    reason = "these tests need only its port and the accepted mails"
)]
mod smtp;

mod admin;
mod alertmanager;
mod alerts;
mod audit_chain;
#[cfg(feature = "aws")]
mod aws;
mod broken_store;
mod cli;
mod cli_check;
mod cli_service;
mod cli_store;
mod cli_usage;
mod config;
mod core_dumps;
mod cycle;
mod delivery;
mod digests;
mod docs;
mod estimates;
mod events;
mod failures;
mod fallback;
mod heartbeat;
mod histories;
mod http_access;
mod http_connections;
mod http_page;
mod http_silences;
mod inventory;
mod mail;
mod metrics;
mod old_store;
mod own_files;
mod restart;
mod rules;
mod run;
mod secrets;
mod service;
mod service_review;
mod simulator;
mod stories;
mod storm;
mod strange;
mod threads;
mod torture;
mod unresolved;
mod wrong_clock;
