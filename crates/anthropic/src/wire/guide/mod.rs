//! Decodes usage in the `guide` dialect. Pure.

pub mod models;

pub mod usage;

#[cfg(test)]
mod tests;
