//! Translates responses into domain types. Pure.

pub mod list;

pub mod guide;

pub mod real;

pub mod report;

pub mod limits;

pub mod tokens;

pub mod analytics;

pub mod reports;
