//! Requests that change nothing: lists, usage and limits, and the detection of the dialect.

pub mod lists;

pub mod guide_usage;

pub mod report_pages;

pub mod reports;

pub mod limits;

pub mod detect;
