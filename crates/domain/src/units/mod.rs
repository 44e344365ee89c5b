//! Money, ids, time and the other values that everything is counted in.

pub mod dialect;

pub mod ids;

pub mod money;

pub mod plural;

pub mod privacy;

pub mod skew;

pub mod span;

pub mod subject;

pub mod matcher;

pub mod period;

pub mod weekly;

pub mod schedule;
