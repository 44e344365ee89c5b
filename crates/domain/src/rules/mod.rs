//! What to watch, for whom, and against which limit.

pub mod watch;

pub mod budget;

pub mod rule;
