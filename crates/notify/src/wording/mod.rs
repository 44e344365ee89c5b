//! The texts of alerts, messages and digests, rendered once for all receivers.

pub mod formatting;

pub mod periods;

pub mod events;

pub mod advice;

pub mod watches;

// One alert.
pub mod contributors;
pub mod details;
pub mod resolution;

pub mod headline;

// A message about one or several alerts, or a digest.
pub mod grouping;
pub mod tables;

pub mod message;

pub mod fit;

pub mod digest_sections;

pub mod digest;
