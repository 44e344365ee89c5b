//! Translates responses into domain types. Pure.

pub mod field;

pub mod rows;

pub mod lists;

pub mod organization;

pub mod guide;

pub mod limits;

pub mod tokens;

pub mod actor;

pub mod report;

pub mod analytics;

pub mod reports;
