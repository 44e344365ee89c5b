//! The texts of alerts, messages and digests, rendered once for all receivers.

pub mod formatting;

// One alert.
pub mod contributors;
pub mod details;
pub mod resolution;

pub mod headline;

pub mod advice;

// A message about one or several alerts.
pub mod grouping;

pub mod message;

pub mod fit;

pub mod digest;
