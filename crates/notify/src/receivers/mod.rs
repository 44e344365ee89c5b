//! The receivers: a pure payload and a short `send` each. They share `chat` (webhooks of chats), `headers` and `signature`
//! (HTTP), and `smtp` and `refusal` (mail).

pub mod headers;
pub mod signature;

pub mod refusal;

pub mod smtp;

pub mod console;
pub mod memory;

pub mod chat;

pub mod slack;

pub mod slack_api;

pub mod discord;
pub mod teams;

pub mod email;

pub mod webhook;

pub mod command;

pub mod alertmanager;
pub mod pagerduty;
