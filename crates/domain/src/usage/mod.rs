//! Usage as servers report it, and its list prices.

pub mod bucket;

pub mod prices;

pub mod report_rows;

pub mod shares;

pub mod tally;
